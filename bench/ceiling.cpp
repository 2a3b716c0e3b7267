// The benchmark queries by hand: one fused loop per query over LZ4-compressed Arrow buffers.
//
// This is the practical ceiling for a general engine on the same bytes: no plan, no checks,
// every column and type known when compiled. One call works through the batches of one file.
#include <lz4frame.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// One buffer of an Arrow IPC body: the raw length (-1: stored as it is), then an LZ4 frame.
struct Buffer {
  const uint8_t* data;
  int64_t bytes;
};

// Decompresses buffers, each column into scratch memory of its own that later batches reuse.
class Decoder {
 public:
  template <typename T>
  const T* Read(Buffer buffer, int column) {
    int64_t raw = RawBytes(buffer);
    if (raw < 0) return reinterpret_cast<const T*>(buffer.data + 8);
    if (scratch_.size() <= static_cast<size_t>(column)) scratch_.resize(column + 1);
    auto& memory = scratch_[column];
    if (memory.size() < static_cast<size_t>(raw) + 64) memory.resize(raw * 5 / 4 + 64);
    Decompress(buffer, memory.data(), raw);
    return reinterpret_cast<const T*>(memory.data());
  }
  // Decompresses to `to`, which may take a few bytes of padding more than the values.
  void ReadTo(Buffer buffer, void* to) {
    int64_t raw = RawBytes(buffer);
    if (raw >= 0) {
      Decompress(buffer, to, raw);
    } else {
      memcpy(to, buffer.data + 8, buffer.bytes - 8);
    }
  }

 private:
  static int64_t RawBytes(Buffer buffer) {
    int64_t raw = 0;
    if (buffer.bytes > 0) memcpy(&raw, buffer.data, 8);
    return raw;
  }
  void Decompress(Buffer buffer, void* to, int64_t raw) {
    if (context_ == nullptr) LZ4F_createDecompressionContext(&context_, LZ4F_VERSION);
    LZ4F_resetDecompressionContext(context_);
    size_t out = raw, in = buffer.bytes - 8;
    LZ4F_decompress(context_, to, &out, buffer.data + 8, &in, nullptr);
  }
  LZ4F_dctx* context_ = nullptr;
  std::vector<std::vector<uint8_t>> scratch_;
};

// Takes values block by block: to an array that is delivered, or into a histogram.
constexpr int64_t kBlock = 1024;

class ArraySink {
 public:
  explicit ArraySink(void* to) : to_(static_cast<float*>(to)), at_(to_) {}
  float* Room() { return at_; }
  void Advance(int64_t n) { at_ += n; }
  void Whole(Decoder& decoder, Buffer buffer, int64_t n, int) {
    decoder.ReadTo(buffer, at_);
    at_ += n;
  }
  int64_t Finish() const { return at_ - to_; }

 private:
  float* to_;
  float* at_;
};

// Bins as boost-histogram does: double, (x - low) / width * 100, flow bins at 0 and 101.
class HistogramSink {
 public:
  HistogramSink(void* bins, double low, double high)
      : bins_(static_cast<int64_t*>(bins)), low_(low), width_(high - low) {}
  float* Room() { return block_ + held_; }
  void Advance(int64_t n) {
    if ((held_ += n) >= kBlock) Flush();
  }
  void Whole(Decoder& decoder, Buffer buffer, int64_t n, int column) {
    Fill(decoder.Read<float>(buffer, column), n);
  }
  int64_t Finish() {
    Flush();
    return 0;
  }

 private:
  void Flush() {
    Fill(block_, held_);
    held_ = 0;
  }
  // Four tables, so that a fill need not wait for the one before it in the same bin.
  void Fill(const float* x, int64_t n) {
    uint32_t part[4][128] = {};
    for (int64_t i = 0; i < n; ++i) {
      double y = (static_cast<double>(x[i]) - low_) / width_ * 100.0 + 1.0;
      ++part[i & 3][static_cast<int>(std::min(101.0, std::max(0.0, y)))];
    }
    for (int b = 0; b < 102; ++b) bins_[b] += part[0][b] + part[1][b] + part[2][b] + part[3][b];
  }
  int64_t* bins_;
  double low_, width_;
  float block_[2 * kBlock];
  int64_t held_ = 0;
};

// Columns come in the order that ceiling.py lists them; `batch` points at a batch's first buffer.
template <typename Sink>
void Q3(Decoder& decoder, const Buffer* batch, int64_t events, Sink& sink) {
  int64_t n = decoder.Read<int32_t>(batch[0], 0)[events];
  const float* pt = decoder.Read<float>(batch[1], 1);
  const float* eta = decoder.Read<float>(batch[2], 2);
  for (int64_t start = 0; start < n; start += kBlock) {
    float* to = sink.Room();
    int64_t kept = 0;
    for (int64_t i = start; i < std::min(n, start + kBlock); ++i) {
      to[kept] = pt[i];
      kept += std::fabs(eta[i]) < 1.f;
    }
    sink.Advance(kept);
  }
}

template <typename Sink>
void Q4(Decoder& decoder, const Buffer* batch, int64_t events, Sink& sink) {
  const float* met = decoder.Read<float>(batch[0], 0);
  const int32_t* offsets = decoder.Read<int32_t>(batch[1], 1);
  const float* pt = decoder.Read<float>(batch[2], 2);
  for (int64_t start = 0; start < events; start += kBlock) {
    float* to = sink.Room();
    int64_t kept = 0;
    for (int64_t e = start; e < std::min(events, start + kBlock); ++e) {
      int above = 0;
      for (int32_t j = offsets[e]; j < offsets[e + 1]; ++j) above += pt[j] > 40.f;
      to[kept] = met[e];
      kept += above >= 2;
    }
    sink.Advance(kept);
  }
}

template <typename Sink>
void Q5(Decoder& decoder, const Buffer* batch, int64_t events, Sink& sink) {
  const float* met = decoder.Read<float>(batch[0], 0);
  const int32_t* offsets = decoder.Read<int32_t>(batch[1], 1);
  const float* pt = decoder.Read<float>(batch[2], 2);
  const float* eta = decoder.Read<float>(batch[3], 3);
  const float* phi = decoder.Read<float>(batch[4], 4);
  const int32_t* charge = decoder.Read<int32_t>(batch[5], 5);
  auto z_pair = [&](int32_t start, int32_t stop) {
    for (int32_t i = start; i < stop; ++i) {
      for (int32_t j = i + 1; j < stop; ++j) {
        if (charge[i] == charge[j]) continue;
        float m2 = 2 * pt[i] * pt[j] * (std::cosh(eta[i] - eta[j]) - std::cos(phi[i] - phi[j]));
        if (m2 > 3600.f && m2 < 14400.f) return true;
      }
    }
    return false;
  };
  for (int64_t start = 0; start < events; start += kBlock) {
    float* to = sink.Room();
    int64_t kept = 0;
    for (int64_t e = start; e < std::min(events, start + kBlock); ++e) {
      if (offsets[e + 1] - offsets[e] < 2) continue;
      to[kept] = met[e];
      kept += z_pair(offsets[e], offsets[e + 1]);
    }
    sink.Advance(kept);
  }
}

constexpr int kJetsMax = 128;

struct Jets {
  float x[kJetsMax], y[kJetsMax], z[kJetsMax], e[kJetsMax];
};

struct Triplet {
  int i, j, k;
};

Triplet NearestTop(const Jets& jets, int n) {
  float distance[kJetsMax];
  float best = 1e30f;
  Triplet found{0, 1, 2};
  for (int i = 0; i < n - 2; ++i) {
    for (int j = i + 1; j < n - 1; ++j) {
      float x = jets.x[i] + jets.x[j], y = jets.y[i] + jets.y[j];
      float z = jets.z[i] + jets.z[j], e = jets.e[i] + jets.e[j];
      float least = 1e30f;
      for (int k = j + 1; k < n; ++k) {
        float ek = e + jets.e[k], xk = x + jets.x[k], yk = y + jets.y[k], zk = z + jets.z[k];
        float m2 = std::max(0.f, ek * ek - xk * xk - yk * yk - zk * zk);
        distance[k] = std::fabs(std::sqrt(m2) - 172.5f);
        least = std::min(least, distance[k]);
      }
      if (least >= best) continue;
      best = least;
      found = {i, j, j + 1};
      while (distance[found.k] != least) ++found.k;
    }
  }
  return found;
}

template <typename Sink>
void Q6(Decoder& decoder, const Buffer* batch, int64_t events, Sink& pt_sink, Sink& btag_sink) {
  const int32_t* offsets = decoder.Read<int32_t>(batch[0], 0);
  const float* pt = decoder.Read<float>(batch[1], 1);
  const float* eta = decoder.Read<float>(batch[2], 2);
  const float* phi = decoder.Read<float>(batch[3], 3);
  const float* mass = decoder.Read<float>(batch[4], 4);
  const float* btag = decoder.Read<float>(batch[5], 5);
  Jets jets;
  for (int64_t event = 0; event < events; ++event) {
    int32_t first = offsets[event];
    int n = std::min(kJetsMax, offsets[event + 1] - first);
    if (n < 3) continue;
    for (int i = 0; i < n; ++i) {
      jets.x[i] = pt[first + i] * std::cos(phi[first + i]);
      jets.y[i] = pt[first + i] * std::sin(phi[first + i]);
      jets.z[i] = pt[first + i] * std::sinh(eta[first + i]);
      jets.e[i] = std::sqrt(jets.x[i] * jets.x[i] + jets.y[i] * jets.y[i] + jets.z[i] * jets.z[i] +
                            mass[first + i] * mass[first + i]);
    }
    auto [a, b, c] = NearestTop(jets, n);
    float x = jets.x[a] + jets.x[b] + jets.x[c], y = jets.y[a] + jets.y[b] + jets.y[c];
    *pt_sink.Room() = std::sqrt(x * x + y * y);
    pt_sink.Advance(1);
    *btag_sink.Room() = std::max(btag[first + a], std::max(btag[first + b], btag[first + c]));
    btag_sink.Advance(1);
  }
}

template <typename Sink>
void Run(int query, int64_t batches, const int64_t* events, int64_t columns, const Buffer* buffers,
         Sink& first, Sink& second) {
  static thread_local Decoder decoder;
  for (int64_t i = 0; i < batches; ++i) {
    const Buffer* batch = buffers + i * columns;
    if (query == 1) first.Whole(decoder, batch[0], events[i], 0);
    if (query == 2) first.Whole(decoder, batch[1], decoder.Read<int32_t>(batch[0], 0)[events[i]], 1);
    if (query == 3) Q3(decoder, batch, events[i], first);
    if (query == 4) Q4(decoder, batch, events[i], first);
    if (query == 5) Q5(decoder, batch, events[i], first);
    if (query == 6) Q6(decoder, batch, events[i], first, second);
  }
}

template <typename T>
int64_t Gather(const void* from, const std::vector<int32_t>& rows, void* to) {
  for (size_t i = 0; i < rows.size(); ++i) static_cast<T*>(to)[i] = static_cast<const T*>(from)[rows[i]];
  return rows.size() * sizeof(T);
}

int64_t GatherLists(const uint32_t* from, const int32_t* offsets, const std::vector<int32_t>& rows,
                    void* to) {
  auto* at = static_cast<uint32_t*>(to);
  for (int32_t row : rows) {
    for (int32_t j = offsets[row]; j < offsets[row + 1]; ++j) *at++ = from[j];
  }
  return reinterpret_cast<uint8_t*>(at) - static_cast<uint8_t*>(to);
}

// Continues the offsets `to`, whose last element is `to[-1]`; returns the number of bytes added.
int64_t GatherOffsets(const int32_t* offsets, const std::vector<int32_t>& rows, int32_t* to) {
  for (size_t i = 0; i < rows.size(); ++i)
    to[i] = to[static_cast<int64_t>(i) - 1] + offsets[rows[i] + 1] - offsets[rows[i]];
  return rows.size() * 4;
}

}  // namespace

extern "C" {

// q1 to q6. `first` and `second` take the delivered arrays; sizes[] their numbers of values.
void ceiling_deliver(int query, int64_t batches, const int64_t* events, int64_t columns,
                     const Buffer* buffers, void* first, void* second, int64_t* sizes) {
  ArraySink a(first), b(second);
  Run(query, batches, events, columns, buffers, a, b);
  sizes[0] = a.Finish();
  sizes[1] = b.Finish();
}

// q1 to q6. Adds to 102 bins each; limits: low and high of both.
void ceiling_fill(int query, int64_t batches, const int64_t* events, int64_t columns, const Buffer* buffers,
                  void* first, void* second, const double* limits) {
  HistogramSink a(first, limits[0], limits[1]), b(second, limits[2], limits[3]);
  Run(query, batches, events, columns, buffers, a, b);
  a.Finish();
  b.Finish();
}

// Events with MET_pt > `above` and two muons, or all if `all`. Columns: Muon#, Jet#, MET_pt, then those to
// deliver; `lists` says of each which offsets it has (-1: none), `widths` its bytes. Outputs likewise:
// two offsets arrays (their first element 0 is set), the columns; sizes[] their bytes.
void ceiling_skim(int all, float above, int64_t batches, const int64_t* events, int64_t columns,
                  const Buffer* buffers, const int32_t* lists, const int32_t* widths, uint8_t** outputs,
                  int64_t* sizes) {
  static thread_local Decoder decoder;
  std::vector<int32_t> rows;
  for (int list = 0; list < 2; ++list) {
    memset(outputs[list], 0, 4);
    sizes[list] = 4;
  }
  for (int64_t i = 0; i < batches; ++i) {
    const Buffer* batch = buffers + i * columns;
    const int32_t* offsets[2] = {decoder.Read<int32_t>(batch[0], 0), decoder.Read<int32_t>(batch[1], 1)};
    const float* met = decoder.Read<float>(batch[2], 2);
    rows.resize(events[i]);
    int64_t kept = 0;
    for (int32_t e = 0; e < events[i]; ++e) {
      rows[kept] = e;
      kept += all || ((met[e] > above) & (offsets[0][e + 1] - offsets[0][e] >= 2));
    }
    rows.resize(kept);
    for (int list = 0; list < 2; ++list)
      sizes[list] +=
          GatherOffsets(offsets[list], rows, reinterpret_cast<int32_t*>(outputs[list] + sizes[list]));
    for (int64_t c = 3; c < columns; ++c) {
      uint8_t* to = outputs[c - 1] + sizes[c - 1];
      if (all) {
        decoder.ReadTo(batch[c], to);
        sizes[c - 1] += widths[c] * (lists[c] < 0 ? events[i] : offsets[lists[c]][events[i]]);
        continue;
      }
      const void* from = decoder.Read<uint8_t>(batch[c], static_cast<int>(c));
      sizes[c - 1] += lists[c] >= 0
                          ? GatherLists(static_cast<const uint32_t*>(from), offsets[lists[c]], rows, to)
                      : widths[c] == 8 ? Gather<uint64_t>(from, rows, to)
                                       : Gather<uint32_t>(from, rows, to);
    }
  }
}
}
