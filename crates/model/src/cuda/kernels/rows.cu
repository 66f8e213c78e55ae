// Row-wise parts of a layer and their gradients. Rows are `[rows][width]`.

// out[row] = table[token[row]]; one block per row.
extern "C" __global__ void embed(
    const operand* table, const unsigned* token, float* out, int width
) {
    const operand* from = table + (size_t)token[blockIdx.x] * width;
    float* to = out + (size_t)blockIdx.x * width;
    for (int at = threadIdx.x; at < width; at += blockDim.x) to[at] = of_operand(from[at]);
}

// x = a + b (b may be absent), kept in `sum` where it is wanted; normed = x / rms(x) * weight, as
// an operand and, where it is wanted, as it is; inverse = 1 / rms. One block per row.
extern "C" __global__ void norm_rows(
    const float* a, const float* b, float* sum, const float* weight, float epsilon,
    operand* normed, float* exact, float* inverse, int width
) {
    size_t row = (size_t)blockIdx.x * width;
    float square = 0;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        float x = a[row + at];
        if (b) x += b[row + at];
        if (sum) sum[row + at] = x;
        square = fmaf(x, x, square);
    }
    float scale = 1.0f / sqrtf(block_sum(square) / width + epsilon);
    if (threadIdx.x == 0 && inverse) inverse[blockIdx.x] = scale;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        float x = a[row + at];
        if (b) x += b[row + at];
        float y = x * scale * weight[at];
        if (normed) normed[row + at] = as_operand(y);
        if (exact) exact[row + at] = y;
    }
}

// normed again, from x and the inverse that the forward left. One block per row.
extern "C" __global__ void renorm_rows(
    const float* x, const float* weight, const float* inverse, operand* normed, float* exact,
    int width
) {
    size_t row = (size_t)blockIdx.x * width;
    float scale = inverse[blockIdx.x];
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        float y = x[row + at] * scale * weight[at];
        if (normed) normed[row + at] = as_operand(y);
        if (exact) exact[row + at] = y;
    }
}

// Adds the gradient of the norm by its input to `dx`, and leaves `dx` as an operand where products
// read pairs: r (w dy - x r^2 mean(x w dy)), r = 1 / rms. One block per row.
extern "C" __global__ void norm_grad(
    const float* x, const float* weight, const float* inverse, const float* dy, float* dx,
    operand* rounded, int width
) {
    size_t row = (size_t)blockIdx.x * width;
    float scale = inverse[blockIdx.x], dot = 0;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        dot = fmaf(x[row + at] * weight[at], dy[row + at], dot);
    }
    float mean = block_sum(dot) * scale * scale / width;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        float own = scale * (weight[at] * dy[row + at] - x[row + at] * mean);
        float all = dx[row + at] + own;
        dx[row + at] = all;
        if (rounded) rounded[row + at] = as_operand(all);
    }
}

// Sums over runs of `run` rows of dy, or of x * inverse * dy where x is given: the gradients of
// biases and norms. Row r lies at (r / inner) * stride + (r % inner) * width, in x and dy with a
// stride of their own. Block (32, 8); grid (columns / 32, runs); partial is `[runs][width]`.
extern "C" __global__ void column_sums(
    const float* x, const float* inverse, const float* dy, float* partial,
    int rows, int width, int inner, int x_stride, int dy_stride, int run
) {
    __shared__ float part[8][WARP + 1];
    int column = blockIdx.x * WARP + threadIdx.x;
    int first = blockIdx.y * run, last = min(rows, first + run);
    float sum = 0;
    if (column < width) {
        for (int row = first + threadIdx.y; row < last; row += 8) {
            size_t outer = row / inner, own = (size_t)(row % inner) * width + column;
            float value = dy[outer * dy_stride + own];
            sum = x ? fmaf(x[outer * x_stride + own] * inverse[row], value, sum) : sum + value;
        }
    }
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        float all = 0;
        for (int at = 0; at < 8; at++) all += part[at][threadIdx.x];
        partial[(size_t)blockIdx.y * width + column] = all;
    }
}

// to[column] += the partial sums of all runs, in their order.
extern "C" __global__ void add_runs(const float* partial, float* to, int width, int runs) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float sum = 0;
    for (int run = 0; run < runs; run++) sum += partial[(size_t)run * width + column];
    to[column] += sum;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// out = gate * sigmoid(gate) * up; `gates` is `[rows][gate, up]`. One block per row.
extern "C" __global__ void swiglu(const float* gates, operand* out, float* exact, int width) {
    const float* row = gates + (size_t)blockIdx.x * 2 * width;
    size_t to = (size_t)blockIdx.x * width;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        float gate = row[at], up = row[width + at];
        float y = gate / (1.0f + expf(-gate)) * up;
        if (out) out[to + at] = as_operand(y);
        if (exact) exact[to + at] = y;
    }
}

// Gradients by gate and up from that by the output, `[rows][gate, up]`, and the output again. One
// block per row.
extern "C" __global__ void swiglu_grad(
    const float* gates, const float* d_out, operand* d_gates, float* d_gates_exact,
    operand* out, float* exact, int width
) {
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        size_t at = (size_t)blockIdx.x * width + column;
        size_t own = (size_t)blockIdx.x * 2 * width + column;
        float gate = gates[own], up = gates[own + width], dy = d_out[at];
        float share = sigmoid(gate);
        float slope = share * (1.0f + gate * (1.0f - share));
        float d_gate = dy * up * slope, d_up = dy * (gate * share);
        float y = gate / (1.0f + expf(-gate)) * up;
        d_gates[own] = as_operand(d_gate);
        d_gates[own + width] = as_operand(d_up);
        if (d_gates_exact) {
            d_gates_exact[own] = d_gate;
            d_gates_exact[own + width] = d_up;
        }
        if (out) out[at] = as_operand(y);
        if (exact) exact[at] = y;
    }
}

// Operands of products.
extern "C" __global__ void round_rows(const float* from, operand* to, long long count) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        to[at] = as_operand(from[at]);
    }
}

extern "C" __global__ void add_rows(const float* a, const float* b, float* to, long long count) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        to[at] = a[at] + b[at];
    }
}

// to[row] = from[index[row]]; one block per row.
extern "C" __global__ void gather_rows(
    const float* from, const unsigned* index, float* to, int width
) {
    const float* row = from + (size_t)index[blockIdx.x] * width;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        to[(size_t)blockIdx.x * width + at] = row[at];
    }
}

// to[index[row]] = from[row]; one block per row, no index twice.
extern "C" __global__ void scatter_rows(
    const float* from, const unsigned* index, float* to, int width
) {
    float* row = to + (size_t)index[blockIdx.x] * width;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        row[at] = from[(size_t)blockIdx.x * width + at];
    }
}

// to[index[b]] += the rows of `from` that order[begin[b]..begin[b + 1]] names, in that order. One
// block per index, no index twice: many rows fall on one without a race and always in one order.
extern "C" __global__ void add_grouped(
    const float* from, const unsigned* index, const unsigned* begin, const unsigned* order,
    float* to, int width
) {
    unsigned first = begin[blockIdx.x], last = begin[blockIdx.x + 1];
    float* row = to + (size_t)index[blockIdx.x] * width;
    for (int at = threadIdx.x; at < width; at += blockDim.x) {
        float sum = row[at];
        for (unsigned one = first; one < last; one++) {
            sum += from[(size_t)order[one] * width + at];
        }
        row[at] = sum;
    }
}
