// Errors of the engine. Inside the engine an Error is thrown; every driver catches it at its boundary.
#pragma once

#include <stdexcept>
#include <string>

namespace skyhook {

// One per `kind` of skyhook_casa/errors.py that the engine can report.
enum class Kind { kInvalidRequest, kCorruptObject, kResourceExhausted, kStore };

class Error : public std::runtime_error {
 public:
  Error(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

[[noreturn]] inline void Invalid(const std::string& message) { throw Error(Kind::kInvalidRequest, message); }
[[noreturn]] inline void Corrupt(const std::string& message) { throw Error(Kind::kCorruptObject, message); }

}  // namespace skyhook
