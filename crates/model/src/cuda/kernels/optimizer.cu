// Sums of squares, scaling and AdamW over arenas of numbers.

// partial[block] = the sum of squares of every gridDim-th run; always in one order.
extern "C" __global__ void square_sums(const float* values, double* partial, long long count) {
    double sum = 0;
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        sum += (double)values[at] * values[at];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void scale_all(float* values, float factor, long long count) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        values[at] *= factor;
    }
}

// The host's update, operation by operation, so that equal gradients give equal bits; `rounded` is
// what products read, where they read bf16.
extern "C" __global__ void adamw(
    float* weight, float* first, float* second, const float* gradient, half_word* rounded,
    float beta1, float beta2, float epsilon, float keep, float rate, float second_correction,
    long long count
) {
    long long step = (long long)gridDim.x * blockDim.x;
    float one_less1 = __fsub_rn(1.0f, beta1), one_less2 = __fsub_rn(1.0f, beta2);
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        float own = gradient[at];
        float m = __fmaf_rn(one_less1, own, __fmul_rn(beta1, first[at]));
        float v = __fmaf_rn(one_less2, __fmul_rn(own, own), __fmul_rn(beta2, second[at]));
        float root = __fadd_rn(__fsqrt_rn(__fmul_rn(v, second_correction)), epsilon);
        float moved = __fdiv_rn(__fmul_rn(rate, m), root);
        float value = __fsub_rn(__fmul_rn(weight[at], keep), moved);
        first[at] = m;
        second[at] = v;
        weight[at] = value;
        if (rounded) rounded[at] = nearest(value);
    }
}

// What products read of f32 masters.
extern "C" __global__ void round_all(const float* weight, half_word* rounded, long long count) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        rounded[at] = nearest(weight[at]);
    }
}
