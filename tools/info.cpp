// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "faiss_ext/index_io.h"
#include "index_facts.h"

namespace rotorquant::tools {
namespace {

int run_info(const std::string& path) {
  const auto index = rotorquant::read_index(path);
  auto facts = facts_of(*index);
  facts.emplace_back("file bytes", std::to_string(std::filesystem::file_size(path)));
  size_t width = 0;
  for (const auto& [name, value] : facts) {
    width = std::max(width, name.size());
  }
  for (const auto& [name, value] : facts) {
    fmt::print("{:<{}}  {}\n", name, width, value);
  }
  return 0;
}

}  // namespace

void add_info_command(CLI::App& app, Command& chosen) {
  auto path = std::make_shared<std::string>();
  CLI::App* info = app.add_subcommand("info", "say what an index file holds");
  info->add_option("--index-file", *path, "file that build wrote")->required();
  info->callback([path, &chosen] { chosen = [path] { return run_info(*path); }; });
}

}  // namespace rotorquant::tools
