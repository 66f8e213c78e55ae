// What lies between the products of a layer and its attention: biases, head norms, rotation.
//
// `heads` rows are `[rows][query, key, value]`. One warp works on one head of one row.

#define HALF (HEAD_DIM / 2)

__device__ __forceinline__ float head_inverse(const float* head, float epsilon, int lane) {
    float square = 0;
    for (int at = lane; at < HEAD_DIM; at += WARP) square = fmaf(head[at], head[at], square);
    return 1.0f / sqrtf(warp_sum(square) / HEAD_DIM + epsilon);
}

// Biases, head norms and rotation in place. Where heads have norms, `raw` keeps queries and keys
// before them, `[rows][query]` then `[rows][key]`, and `inverse` their 1 / rms alike. Where keys
// and values go to a pool, `slot[row]` of it receives them.
extern "C" __global__ void finish_heads(
    float* rows_heads, const float* bias, const float* query_norm, const float* key_norm,
    float epsilon, float* raw, float* inverse, const float* cosine, const float* sine,
    const unsigned* position, int rows, int kv_heads,
    float* pool_key, float* pool_value, const unsigned* slot
) {
    int heads = kv_heads * GROUP, all = heads + 2 * kv_heads;
    long long one = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    int lane = threadIdx.x % WARP;
    if (one >= (long long)rows * all) return;
    int row = one / all, head = one % all;
    float* own = rows_heads + (size_t)one * HEAD_DIM;
    if (bias) {
        for (int at = lane; at < HEAD_DIM; at += WARP) own[at] += bias[head * HEAD_DIM + at];
        __syncwarp();
    }
    bool turns = head < heads + kv_heads;
    float scale = 1.0f;
    const float* weight = 0;
    if (turns && query_norm) {
        bool query = head < heads;
        size_t at_head = query ? (size_t)row * heads + head
                               : (size_t)rows * heads + (size_t)row * kv_heads + head - heads;
        scale = head_inverse(own, epsilon, lane);
        weight = query ? query_norm : key_norm;
        if (lane == 0 && inverse) inverse[at_head] = scale;
        if (raw) {
            for (int at = lane; at < HEAD_DIM; at += WARP) raw[at_head * HEAD_DIM + at] = own[at];
            __syncwarp();
        }
    }
    if (turns) {
        const float* c = cosine + (size_t)position[row] * HALF;
        const float* s = sine + (size_t)position[row] * HALF;
        for (int at = lane; at < HALF; at += WARP) {
            float low = own[at], high = own[at + HALF];
            if (weight) {
                low = low * scale * weight[at];
                high = high * scale * weight[at + HALF];
            }
            own[at] = low * c[at] - high * s[at];
            own[at + HALF] = high * c[at] + low * s[at];
        }
    }
    if (pool_key && head >= heads) {
        int kv = (head - heads) % kv_heads;
        float* pool = head < heads + kv_heads ? pool_key : pool_value;
        float* to = pool + ((size_t)slot[row] * kv_heads + kv) * HEAD_DIM;
        __syncwarp();
        for (int at = lane; at < HEAD_DIM; at += WARP) to[at] = own[at];
    }
}

// Gathers the gradients of keys and values over the query heads of their group (`d_key` and
// `d_value` are `[rows][query heads]`) into `d_heads`, and turns queries and keys back. Where
// heads have no norms the operands are complete and written too.
extern "C" __global__ void turn_back(
    float* d_heads, const float* d_key, const float* d_value, operand* rounded,
    const float* cosine, const float* sine, const unsigned* position, int rows, int kv_heads
) {
    int heads = kv_heads * GROUP, all = heads + 2 * kv_heads;
    long long one = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    int lane = threadIdx.x % WARP;
    if (one >= (long long)rows * all) return;
    int row = one / all, head = one % all;
    float* own = d_heads + (size_t)one * HEAD_DIM;
    if (head >= heads) {
        int kv = (head - heads) % kv_heads;
        const float* from = head < heads + kv_heads ? d_key : d_value;
        from += ((size_t)row * heads + kv * GROUP) * HEAD_DIM;
        for (int at = lane; at < HEAD_DIM; at += WARP) {
            float sum = 0;
            for (int member = 0; member < GROUP; member++) sum += from[member * HEAD_DIM + at];
            own[at] = sum;
        }
        __syncwarp();
    }
    if (head < heads + kv_heads) {
        const float* c = cosine + (size_t)position[row] * HALF;
        const float* s = sine + (size_t)position[row] * HALF;
        for (int at = lane; at < HALF; at += WARP) {
            float low = own[at], high = own[at + HALF];
            own[at] = low * c[at] + high * s[at];
            own[at + HALF] = high * c[at] - low * s[at];
        }
        __syncwarp();
    }
    if (rounded) {
        operand* to = rounded + (size_t)one * HEAD_DIM;
        for (int at = lane; at < HEAD_DIM; at += WARP) to[at] = as_operand(own[at]);
    }
}

// The gradient through the head norms of queries and keys, in place; then all operands.
extern "C" __global__ void head_norm_grad(
    float* d_heads, const float* raw, const float* inverse, const float* query_norm,
    const float* key_norm, operand* rounded, int rows, int kv_heads
) {
    int heads = kv_heads * GROUP, all = heads + 2 * kv_heads;
    long long one = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    int lane = threadIdx.x % WARP;
    if (one >= (long long)rows * all) return;
    int row = one / all, head = one % all;
    float* own = d_heads + (size_t)one * HEAD_DIM;
    if (head < heads + kv_heads) {
        bool query = head < heads;
        size_t at_head = query ? (size_t)row * heads + head
                               : (size_t)rows * heads + (size_t)row * kv_heads + head - heads;
        const float* x = raw + at_head * HEAD_DIM;
        const float* weight = query ? query_norm : key_norm;
        float scale = inverse[at_head], dot = 0;
        for (int at = lane; at < HEAD_DIM; at += WARP) {
            dot = fmaf(x[at] * weight[at], own[at], dot);
        }
        float mean = warp_sum(dot) * scale * scale / HEAD_DIM;
        for (int at = lane; at < HEAD_DIM; at += WARP) {
            own[at] = scale * (weight[at] * own[at] - x[at] * mean);
        }
        __syncwarp();
    }
    if (rounded) {
        operand* to = rounded + (size_t)one * HEAD_DIM;
        for (int at = lane; at < HEAD_DIM; at += WARP) to[at] = as_operand(own[at]);
    }
}
