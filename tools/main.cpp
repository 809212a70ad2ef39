// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <stdexcept>

#include "commands.h"
#include "errors.h"

namespace rotorquant::tools {
namespace {

int complain(const std::exception& error, int status) {
  fmt::print(stderr, "rotorquant: {}\n", message_of(error));
  return status;
}

int run(const Command& command) {
  try {
    const int status = command();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      throw std::runtime_error("standard output: could not be written");
    }
    return status;
  } catch (const BadArgument& error) {
    return complain(error, exit_bad_arguments);
  } catch (const std::exception& error) {
    return complain(error, exit_failed);
  }
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Builds, searches and measures rotor-quantized and FAISS vector indexes.",
               "rotorquant"};
  app.set_version_flag("--version", "rotorquant " ROTORQUANT_VERSION);
  app.require_subcommand(1);
  app.footer("Exit status: 0 done, 1 failed, 2 bad arguments.");
  Command chosen;
  add_eval_command(app, chosen);
  add_build_command(app, chosen);
  add_search_command(app, chosen);
  add_info_command(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_bad_arguments;  // 0: help or version was asked for
  }
  return run(chosen);
}

}  // namespace
}  // namespace rotorquant::tools

int main(int argc, char** argv) {
  try {
    return rotorquant::tools::parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rotorquant: %s\n", error.what());
    return rotorquant::tools::exit_failed;
  }
}
