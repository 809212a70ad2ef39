// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "rotorquant/gpu.h"

namespace rotorquant::test_data {

/// Skips, by name, where there is no device: it must not look as if it had passed.
template <class Base = testing::Test>
class OnDevice : public Base {
 protected:
  void SetUp() override {
    if (gpu_device_count() == 0) {
      GTEST_SKIP() << "no CUDA device";
    }
  }
};

/// Names a test by its factory string.
inline std::string tree_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

}  // namespace rotorquant::test_data
