// What every kernel shares: operands of products, sums over a block.
//
// The host compiles all sources together with these constants of one model:
//   PAIRED   1 where products read bf16, 0 where they read f32
//   HEAD_DIM width of one head
//   GROUP    query heads per key head
//   QUERIES, KEYS  rows of a tile of attention, multiples of 16

typedef unsigned short half_word;

// The nearest bf16; halves go away from zero, as on the host.
__device__ __forceinline__ half_word nearest(float value) {
    unsigned bits = __float_as_uint(value);
    if (value != value) return (half_word)((bits >> 16) | 0x40u);
    return (half_word)((bits + 0x8000u) >> 16);
}

#if PAIRED
typedef half_word operand;
__device__ __forceinline__ operand as_operand(float value) { return nearest(value); }
__device__ __forceinline__ float of_operand(operand value) {
    return __uint_as_float((unsigned)value << 16);
}
#else
typedef float operand;
__device__ __forceinline__ operand as_operand(float value) { return value; }
__device__ __forceinline__ float of_operand(operand value) { return value; }
#endif

#define WARP 32
#define FULL 0xffffffffu
#define BELOW_ALL (-__int_as_float(0x7f800000))

template <typename Number>
__device__ __forceinline__ Number warp_sum(Number value) {
    for (int far = WARP / 2; far > 0; far /= 2) value += __shfl_xor_sync(FULL, value, far);
    return value;
}

__device__ __forceinline__ float warp_most(float value) {
    for (int far = WARP / 2; far > 0; far /= 2) {
        value = fmaxf(value, __shfl_xor_sync(FULL, value, far));
    }
    return value;
}

// The sum over all threads of a block of whole warps, known to each of them; always in one order.
template <typename Number>
__device__ Number block_sum(Number value) {
    __shared__ Number part[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_sum(value);
    __syncthreads();
    if (lane == 0) part[warp] = value;
    __syncthreads();
    Number sum = 0;
    for (int at = 0; at < warps; at++) sum += part[at];
    return sum;
}

__device__ float block_most(float value) {
    __shared__ float part[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_most(value);
    __syncthreads();
    if (lane == 0) part[warp] = value;
    __syncthreads();
    float most = part[0];
    for (int at = 1; at < warps; at++) most = fmaxf(most, part[at]);
    return most;
}
