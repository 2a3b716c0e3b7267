// A scan as a message, and its answer: what travels to an OSD and back. See doc/wire.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ranges.h"
#include "scan.h"

namespace skyhook {

inline constexpr uint32_t kWireVersion = 1;
inline constexpr size_t kRequestBytesMax = 1u << 20;
inline constexpr int64_t kReplyBytesMax = 8 << 20;
inline constexpr uint32_t kMillisecondsMax = 100;
inline constexpr uint64_t kVerifyBytesMax = 8 << 20;

struct ScanRequest {
  ObjectPlace place;
  ScanLimits limits;
  bool keep_rows = false;
  std::vector<DType> dtypes;
  std::vector<int> groups;
  Bytes program;     // inside the request's bytes
  Bytes histograms;  // the same; empty if none are asked for
};

// Decodes and checks a request; limits beyond the caps are cut down to them.
// Throws Error(kInvalidRequest).
ScanRequest DecodeRequest(Bytes data);

// The frame of an answer: its cursor (-1: the object is done), columns and report. Buffers are
// aligned to 64 bytes inside the frame.
std::vector<uint8_t> EncodeReply(const Result& result, int64_t cursor);

// The frame of an error that the caller can understand.
std::vector<uint8_t> EncodeError(Kind kind, const std::string& message);

// Appends an answer to a result with the same columns and returns its cursor. Throws the error that
// the frame tells of, or Error(kCorruptObject) if it is no frame.
int64_t AppendReply(Bytes frame, Result* result);

// Decodes, scans and encodes: all that a driver inside a server needs. Never throws: an error becomes
// a frame.
std::vector<uint8_t> AnswerScan(Bytes request, const ReadRange& read) noexcept;

// The same for a check of an object's checksums. The request names the directory's place and a cursor;
// one call checks at most kVerifyBytesMax bytes. The answer has a cursor and, as its report, the bytes
// read.
std::vector<uint8_t> AnswerVerify(Bytes request, const ReadRange& read) noexcept;

}  // namespace skyhook
