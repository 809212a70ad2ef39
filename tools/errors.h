// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>
#include <string>

namespace rotorquant::tools {

/// The program's exit statuses.
constexpr int exit_failed = 1;         ///< something went wrong while working
constexpr int exit_bad_arguments = 2;  ///< the command line asks for something impossible

/// What the user typed cannot be done. Ends the program with exit_bad_arguments.
class BadArgument : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The message of an exception for people: without the source position that FAISS puts before it.
std::string message_of(const std::exception& error);

}  // namespace rotorquant::tools
