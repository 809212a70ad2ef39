// SPDX-License-Identifier: MIT
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace rotorquant::tools {

/// What main runs once the command line is parsed; returns the exit status.
using Command = std::function<int()>;

// Each of these registers one subcommand, which puts itself into `chosen` when it is named.
void add_eval_command(CLI::App& app, Command& chosen);
void add_build_command(CLI::App& app, Command& chosen);
void add_search_command(CLI::App& app, Command& chosen);
void add_info_command(CLI::App& app, Command& chosen);

// Options that several subcommands share, worded and limited alike.
CLI::Option* add_repeatable(CLI::App& app, const std::string& name,
                            std::vector<std::string>& values, const std::string& help);
void add_k_option(CLI::App& app, size_t& k);
void add_rows_option(CLI::App& app, size_t& rows);
void add_queries_option(CLI::App& app, size_t& queries);
void add_threads_option(CLI::App& app, int& threads);
void add_params_option(CLI::App& app, std::vector<std::string>& params);

/// Throws BadArgument when the environment asks for a kernel set that is not there: it would fail
/// later and less clearly.
void require_usable_simd();

}  // namespace rotorquant::tools
