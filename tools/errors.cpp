// SPDX-License-Identifier: MIT
#include "errors.h"

#include <cctype>
#include <new>
#include <string_view>

namespace rotorquant::tools {
namespace {

/// Where the message starts in "Error in <function> at <file>:<line>: <message>", FAISS's form;
/// 0 for any other text.
size_t faiss_message_start(std::string_view text) {
  if (!text.starts_with("Error in ")) {
    return 0;
  }
  for (size_t colon = text.find(": "); colon != std::string_view::npos;
       colon = text.find(": ", colon + 1)) {
    size_t digit = colon;
    while (digit > 0 && std::isdigit(static_cast<unsigned char>(text[digit - 1])) != 0) {
      --digit;
    }
    if (digit < colon && digit > 0 && text[digit - 1] == ':') {
      return colon + 2;
    }
  }
  return 0;
}

}  // namespace

std::string message_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return "out of memory";
  }
  std::string_view text = error.what();
  constexpr std::string_view own_prefix = "rotorquant: ";
  text.remove_prefix(text.starts_with(own_prefix) ? own_prefix.size() : faiss_message_start(text));
  // FAISS puts the failed condition first: "Error: 'd % M == 0' failed: the dimension ...".
  constexpr std::string_view failed = "' failed: ";
  const size_t condition_end = text.find(failed);
  if (text.starts_with("Error: '") && condition_end != std::string_view::npos) {
    text.remove_prefix(condition_end + failed.size());
  }
  return std::string(text);
}

}  // namespace rotorquant::tools
