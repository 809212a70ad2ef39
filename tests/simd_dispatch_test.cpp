// SPDX-License-Identifier: MIT
// The choice of kernels is made once a process, so each case runs this program again as a child.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <set>

#include "rotorquant/simd.h"
#include "simd/cpu_features.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::message_of;

/// The child: says what is active, or why nothing is.
TEST(SimdDispatchChild, DISABLED_SaysWhatIsActive) {
  std::string active;
  const std::string error = message_of([&] { active = simd_active(); });
  std::cout << "active=[" << active << "] error=[" << error << "]" << std::endl;
}

/// Output of the child under `environment` ("NAME=value" or "-u NAME"); empty where this program
/// cannot find itself.
std::string child_output(const std::string& environment) {
  std::error_code none;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", none);
  if (none) {
    return "";
  }
  // What runs a program for another processor (scripts/test-neon), if this is one.
  const char* emulator = std::getenv("ROTORQUANT_TEST_EMULATOR");
  const std::string command = "env " + environment + " " + (emulator == nullptr ? "" : emulator) +
                              " '" + self.string() +
                              "' --gtest_filter=SimdDispatchChild.* "
                              "--gtest_also_run_disabled_tests 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string output;
  std::array<char, 256> part{};
  while (pipe != nullptr && std::fgets(part.data(), part.size(), pipe.get()) != nullptr) {
    output += part.data();
  }
  return output;
}

class SimdDispatch : public testing::Test {
 protected:
  void SetUp() override {
    if (child_output("-u ROTORQUANT_SIMD").empty()) {
      GTEST_SKIP() << "no /proc/self/exe: this program cannot run itself";
    }
  }
};

const std::vector<std::string> known_names = {"scalar", "neon", "avx2", "avx512bw", "avx512vbmi"};

std::string says_active(const std::string& name) {
  return "active=[" + name + "] error=[]";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in:\n" << text;
}

TEST_F(SimdDispatch, WithoutTheVariableTheBestSetIsActive) {
  const std::string best = simd_available().front();
  expect_contains(child_output("-u ROTORQUANT_SIMD"), says_active(best));
  expect_contains(child_output("ROTORQUANT_SIMD="), says_active(best));
}

TEST_F(SimdDispatch, EveryKnownNameIsForcedOrRefusedWithWhatRuns) {
  const std::vector<std::string> available = simd_available();
  for (const std::string& name : known_names) {
    const std::string output = child_output("ROTORQUANT_SIMD=" + name);
    if (std::find(available.begin(), available.end(), name) != available.end()) {
      expect_contains(output, says_active(name));
      continue;
    }
    expect_contains(output, "active=[] error=[rotorquant: ROTORQUANT_SIMD: expected ");
    expect_contains(output, "received " + name);
    for (const std::string& runs : available) {
      expect_contains(output, runs);
    }
  }
}

TEST_F(SimdDispatch, AnUnknownNameIsRefusedWithTheKnownOnes) {
  for (const std::string name : {"nonsense", "AVX2", "avx512vbmi2", "scalar,avx2"}) {
    const std::string output = child_output("ROTORQUANT_SIMD=" + name);
    expect_contains(output, "active=[] error=[rotorquant: ROTORQUANT_SIMD: expected ");
    expect_contains(output, "received " + name + "]");
    for (const std::string& known : known_names) {
      expect_contains(output, known);
    }
  }
}

TEST(SimdAvailable, EndsWithScalarAndNamesEachSetOnce) {
  const std::vector<std::string> names = simd_available();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names.back(), "scalar");
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

TEST(SimdAvailable, ABuiltSetIsAvailableExactlyWhereTheCpuHasItsBits) {
  for (const test_data::KernelSet& set : test_data::built_kernel_sets()) {
    const bool expected = set.name() == "avx2"         ? simd::cpu_has_avx2()
                          : set.name() == "avx512bw"   ? simd::cpu_has_avx512bw()
                          : set.name() == "avx512vbmi" ? simd::cpu_has_avx512vbmi()
                                                       : true;
    EXPECT_EQ(set.runs_here(), expected) << set.name();
  }
}

TEST(ScopedKernels, ForceNestAndGiveBack) {
  const std::string before = simd_active();
  {
    const simd::ScopedKernels outer(simd::scalar_kernels);
    EXPECT_EQ(simd_active(), "scalar");
    for (const simd::KernelTable* kernels : simd::available_kernels()) {
      const simd::ScopedKernels inner(*kernels);
      EXPECT_EQ(simd_active(), kernels->name);
    }
    EXPECT_EQ(simd_active(), "scalar");
  }
  EXPECT_EQ(simd_active(), before);
}

}  // namespace
}  // namespace rotorquant
