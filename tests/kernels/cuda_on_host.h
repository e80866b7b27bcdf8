/* cuda_on_host.h - CUDA C++ as TVM writes it, on a CPU: a thread for each of a block's, one block after the other. A
 * fragment is whole in every thread, so that what a warp does together each of them does alone, with the same result. */
#include <barrier>
#include <cstring>
#include <thread>
#include <vector>

#define __global__
#define __launch_bounds__(n)
#define __restrict__
#define __shared__ static
#define alignas(bytes) __attribute__((aligned(bytes))) /* where g++ takes no standard attribute */
#define __syncthreads() block_barrier->arrive_and_wait()

using half = _Float16;
struct half4 {
  half x, y, z, w;
};
struct float4 {
  float x, y, z, w;
};
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static float max(float a, float b) { return a > b ? a : b; }
static float min(float a, float b) { return a < b ? a : b; }

struct dim {
  unsigned x, y, z;
};
static thread_local dim threadIdx, blockIdx;
static std::barrier<> *block_barrier;

namespace nvcuda::wmma {
struct row_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major };
template <class Use, int M, int N, int K, class T, class Layout = row_major> struct fragment {
  T at[16][16];
};
template <class F, class T> void fill_fragment(F &f, T value) {
  for (auto &row : f.at)
    for (auto &element : row) element = value;
}
template <class F, class T> void load_matrix_sync(F &f, const T *from, unsigned stride) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) f.at[i][j] = from[i * stride + j];
}
template <class F, class T> void store_matrix_sync(T *to, const F &f, unsigned stride, layout_t) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) to[i * stride + j] = f.at[i][j];
}
template <class D, class A, class B, class C> void mma_sync(D &d, const A &a, const B &b, const C &c) {
  D sum;
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      float s = c.at[i][j];
      for (int k = 0; k < 16; ++k) s += (float)a.at[i][k] * (float)b.at[k][j];
      sum.at[i][j] = s;
    }
  d = sum;
}
} // namespace nvcuda::wmma

template <class Kernel> void run(dim grid, dim block, Kernel kernel) {
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        std::barrier<> barrier(block.x * block.y * block.z);
        block_barrier = &barrier;
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < block.x * block.y * block.z; ++t)
          threads.emplace_back([=] {
            blockIdx = {x, y, z};
            threadIdx = {t % block.x, t / block.x % block.y, t / (block.x * block.y)};
            kernel();
          });
        for (auto &thread : threads) thread.join();
      }
}
