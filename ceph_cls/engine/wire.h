// A scan as a message, and its answer: what travels to an OSD and back. See doc/wire.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ranges.h"
#include "scan.h"
#include "verify.h"

namespace skyhook {

inline constexpr uint32_t kWireVersion = 1;
// What requests may ask for that the first classes of this version did not know; words.
inline constexpr char kAbilities[] = "select";
inline constexpr size_t kRequestBytesMax = 1u << 20;
inline constexpr int64_t kReplyBytesMax = 8 << 20;
// That an answer may pass its budget by, to end a chunk; but never by more than the budget.
inline constexpr int64_t kReplySlackBytes = 4 << 20;
inline constexpr uint32_t kMillisecondsMax = 100;

struct ScanRequest {
  ObjectPlace place;
  ScanLimits limits;
  bool keep_rows = false;
  bool pack_rows = false;  // as a selection
  std::vector<DType> dtypes;
  std::vector<int> groups;
  Bytes program;     // inside the request's bytes
  Bytes histograms;  // the same; empty if none are asked for
  bool selects = false;
  Bytes selection;  // the same, if it selects events: see selection.h
};

// Decodes and checks a request; limits beyond the caps are cut down to them.
// Throws Error(kInvalidRequest).
ScanRequest DecodeRequest(Bytes data);

// The frame of an answer: its cursor (-1: the object is done), columns and report. Buffers are
// aligned to 64 bytes inside the frame. `pack_rows`: event numbers as a selection, if that can be.
Buffer EncodeReply(const Result& result, int64_t cursor, bool pack_rows = false);

// The frame of an error that the caller can understand.
Buffer EncodeError(Kind kind, const std::string& message);

// Appends an answer to a result with the same columns and returns its cursor. Throws the error that
// the frame tells of, or Error(kCorruptObject) if it is no frame.
int64_t AppendReply(Bytes frame, Result* result);

// Decodes, scans and encodes: all that a driver inside a server needs. Never throws: an error becomes
// a frame; an empty one means that there was no memory even for that.
Buffer AnswerScan(Bytes request, const ReadRange& read) noexcept;

// The same for a check of an object: see verify.h.
Buffer AnswerVerify(Bytes request, const ReadRange& read) noexcept;

}  // namespace skyhook
