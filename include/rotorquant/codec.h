// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rotorquant/bytes.h"
#include "rotorquant/codebook.h"
#include "rotorquant/frame.h"

namespace rotorquant {

/// How a code is turned into an inner product (docs/codec.md, "The two estimators").
enum class Estimator : uint8_t {
  rescaled = 0,  ///< alpha <q', a> + beta <O q', s>: the default, least variance
  strict = 1,    ///< QJL semantics: unbiased over O alone, larger variance
};

/// How long encode() looks for good codes. Codes of every effort decode alike and may be mixed.
enum class EncodeEffort : uint8_t {
  fast,      ///< levels, then signs, without joint rounds
  standard,  ///< CodecParams::joint_rounds
  best,      ///< joint rounds until nothing changes, 12 at most
};

struct CodecParams {
  size_t d = 0;       ///< dimension of the vectors, >= 1
  int bits = 3;       ///< bits a dimension, 1 to 8
  bool signs = true;  ///< the last bit is a QJL sign; false: every bit is a level ("mse")
  FrameKind frame = FrameKind::rotor_layers;
  uint64_t seed = 43;
  size_t rotor_layers = 0;  ///< 0: RotorLayers::default_layers(d)
  int joint_rounds = 3;     ///< rounds of joint encoding of levels and signs; 0 is plain greedy
};

/// Where everything sits in one vector's code, the canonical bytes that sa_encode returns, files
/// hold and the code store repacks:
///
///   plane 1 | plane 2 | ... | plane b | alpha_1 uf16 | additive fp32 | alpha | beta
///
/// A plane is one nibble a quad, quad 2i in the low half of byte i, the last half byte 0. Planes
/// are the levels in order, then the signs (bit c of a nibble: coordinate c of the quad is
/// negative). Plane 1 and the two numbers after the planes are what the scan reads; the other
/// planes, alpha and beta are the refine row. alpha and beta are uf16, from 6 bits on fp32; beta
/// only with signs; neither where one plane is all there is (alpha_1 is that plane's factor).
/// uf16 is an unsigned 16-bit float, 8 exponent and 8 mantissa bits (src/half.h): factors are never
/// negative, and data of any scale fits without a codec-wide unit.
struct CodeLayout {
  size_t quads = 0;
  size_t plane_bytes = 0;  ///< ceil(quads / 2)
  size_t planes = 0;       ///< = bits
  size_t levels = 0;       ///< planes that are levels: bits, or bits - 1 with signs
  bool signs = false;
  bool wide_factors = false;  ///< alpha and beta are fp32

  size_t scan_factor_offset() const { return planes * plane_bytes; }
  size_t factor_offset() const { return scan_factor_offset() + 6; }
  size_t factor_count() const { return planes == 1 ? 0 : (signs ? 2 : 1); }
  size_t factor_bytes() const { return factor_count() * (wide_factors ? 4 : 2); }
  size_t code_bytes() const { return factor_offset() + factor_bytes(); }
  /// A refine row: planes 2..b, then alpha and beta.
  size_t row_bytes() const { return (planes - 1) * plane_bytes + factor_bytes(); }

  friend bool operator==(const CodeLayout&, const CodeLayout&) = default;
};

/// A query in 16-bit integers, which is what codes are scored with: sums are exact, so every
/// instruction set returns the same, and no sum leaves 32 bits.
struct FixedQuery {
  std::vector<int16_t> frame;  ///< q' / frame_step, rounded; padded with zeros to a multiple of 32
  std::vector<int16_t> sign;   ///< O q' / sign_step (empty without signs)
  /// One unit of the integer sums: <q', a> = level_step * sum, <O q', s> = sign_step * sum.
  float level_step = 0.0F;
  float sign_step = 0.0F;
};

/// A query in the codec's frames. Reusable across stores that share the codec and the centre.
struct CodecQuery {
  std::vector<float> frame_query;  ///< q' = G (q - mu), padded with zeros to a multiple of 16
  std::vector<float> sign_query;   ///< O q' (empty without signs); same padding
  FixedQuery fixed;
  /// Variance of what the whole code adds to the scan's estimate, in units of alpha_1.
  float scan_variance = 0.0F;
};

/// Frame + levels + signs: train, encode, decode, estimate. Knows neither metric nor centre:
/// callers pass residuals x - mu and the additive term of their distance.
/// Immutable after train() or construction; const methods are thread-safe.
class Codec {
 public:
  Codec() = default;
  /// Throws Error on d = 0, bits outside 1..8 or negative rounds. An oblivious codec
  /// (rotor_layers, haar) is ready at once; a learned one needs train().
  explicit Codec(const CodecParams& params);

  /// Learns frame and codebooks from residuals (n x d, row-major; n >= 1; a sample of at most
  /// 65,536 rows is used). Does nothing for an oblivious codec. Throws on NaN or infinity.
  void train(const float* residuals, size_t n);
  bool is_trained() const { return frame_.ready(); }

  const CodecParams& params() const { return params_; }
  const CodeLayout& layout() const { return layout_; }
  const Frame& frame() const { return frame_; }
  const QuadTrees& trees() const { return trees_; }
  size_t dim() const { return params_.d; }
  size_t code_bytes() const { return layout_.code_bytes(); }
  /// "RQ3", "ORQ2mse": the factory string of this codec.
  std::string name() const;

  /// residuals: n x d. additive: n, the term A of distance = base + A - w <q', x'> (for L2 the
  /// squared norm of the residual). codes: n x code_bytes(). Runs OpenMP over blocks of vectors;
  /// the bytes do not depend on the number of threads, n, or the instruction set (a learned
  /// frame's product: up to its rounding). Throws on NaN or infinity, naming the row.
  void encode(const float* residuals, const float* additive, size_t n, uint8_t* codes,
              EncodeEffort effort = EncodeEffort::standard) const;

  /// Writes residuals (count x d) and additive terms (count) of vectors first .. first + count - 1,
  /// and returns whether all residuals are finite. Called from several threads.
  using ResidualSource =
      std::function<bool(size_t first, size_t count, float* residuals, float* additive)>;
  /// The same for residuals that are made when they are needed, a few at a time: they stay in
  /// cache. Code i goes to codes + i * stride. Returns false if the source ever did; then the
  /// codes mean nothing.
  [[nodiscard]] bool encode(const ResidualSource& source, size_t n, uint8_t* codes, size_t stride,
                            EncodeEffort effort) const;

  /// Least-squares reconstruction from the first `levels` levels (0 = everything, signs
  /// included). codes: n x code_bytes(), residuals: n x d.
  void decode(const uint8_t* codes, size_t n, float* residuals, size_t levels = 0) const;

  /// query: d floats, already centred.
  CodecQuery prepare(const float* query) const;
  /// The same for n queries (n x d) at once, which share what a frame costs; equal results.
  void prepare(const float* queries, size_t n, CodecQuery* prepared) const;
  /// Estimates <q - mu, x - mu> from one code. levels as in decode. The strict estimator needs
  /// signs and all levels (otherwise the rescaled one is used) and is unbiased when the caller
  /// passes the exact norm in the frame, |F (x - mu)| (= |x - mu| unless the frame is learned);
  /// norm < 0: inferred from the code.
  float estimate(const CodecQuery& query, const uint8_t* code, size_t levels = 0,
                 Estimator estimator = Estimator::rescaled, float norm = -1.0F) const;

  /// Mean over vectors of 1 - cos^2 between residual and decoding at `levels` levels (0 = all,
  /// with signs), measured when the codec was made or trained.
  float expected_distortion(size_t levels = 0) const;
  /// Standard deviations of the scan's error that the default search allows for, chosen so that it
  /// loses less than 0.002 recall to refining every vector: the more precise the code, the more
  /// there is to lose.
  float default_error_scale() const {
    return params_.bits <= 3 ? 2.0F : (params_.bits == 4 ? 2.25F : 2.5F);
  }

  void write(ByteWriter& out) const;
  /// expected_d: refuses another dimension before anything is built for it; 0: any.
  static Codec read(ByteReader& in, size_t expected_d = 0);

 private:
  friend class CodecAccess;  // src/codec_access.h: what scan and refine read

  CodecParams params_;
  CodeLayout layout_;
  Frame frame_;
  RotorLayers sign_map_;  ///< O
  QuadTrees trees_;
  struct Tables;  // encode tables in kernel order and measured statistics: derived, not stored
  std::shared_ptr<const Tables> tables_;
  struct Statistics {
    /// alpha of the code cut after level l over alpha of the whole code, [l - 1].
    std::vector<float> prefix_gain;
    /// Mean cos^2 between residual and decoding, [0]: whole code, [l]: l levels.
    std::vector<float> cos2;
    /// Variance, a coordinate, of what the whole code adds to level 1 in units of alpha_1,
    /// (alpha a + beta O^T s) / alpha_1 - a_1: what the scan's error bound weighs q'^2 by. One
    /// entry stands for all coordinates alike.
    std::vector<float> scan_error;
    /// beta of the strict estimator over |y| / sqrt(P) times c, calibrated to be unbiased.
    float strict_gain = 0.0F;
  } statistics_;

  class Calibrator;

  /// Checks params and builds what follows from them; an oblivious codec still lacks statistics.
  void build(const CodecParams& params);
  void finish();
  /// Queries from what the frame made of them (n x P).
  void prepare_framed(const std::vector<float>& in_frame, size_t n, CodecQuery* prepared) const;
  void calibrate(const float* residuals, size_t n);
};

}  // namespace rotorquant
