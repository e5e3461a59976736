/* cuBLAS and cuDNN as far as PyTorch looks at their answers. build.py adds functions that return 0 for all others. */
#include "machine.h"
#include <cudnn_version.h>

int fake_launch(void); /* runtime.c */
int cudaSetDevice(int device);
int cudaGetDevice(int *device);

static int g_cublas_create_status, g_gemm_status, g_cudnn_status;
void fake_cublas_create_status(int status) { g_cublas_create_status = status; }
void fake_gemm_status(int status) { g_gemm_status = status; }
void fake_cudnn_status(int status) { g_cudnn_status = status; }

static int needs_context(void) { int device; return cudaGetDevice(&device) || cudaSetDevice(device); }
static int create(void **handle, size_t bytes) { *handle = calloc(1, bytes); return 0; }
static int destroy(void *handle) { free(handle); return 0; }

/* The number of arguments of this function of the runtime depends on its version. */
int cudaStreamGetCaptureInfo(void *stream, int *status) { (void)stream; *status = 0; return 0; }

/* ---- cuBLAS */
int cublasCreate_v2(void **handle) {
  if (needs_context()) return 3; /* CUBLAS_STATUS_ALLOC_FAILED */
  return g_cublas_create_status ? g_cublas_create_status : create(handle, 4096);
}
int cublasGetMathMode(void *handle, int *mode) { (void)handle; *mode = 0; return 0; }
int cublasGetPointerMode_v2(void *handle, int *mode) { (void)handle; *mode = 0; return 0; }
const char *cublasGetStatusString(int status) { (void)status; return "status of the fake driver"; }
size_t cublasLtGetVersion(void) { return 130000; }
int cublasLtMatmulDescCreate(void **handle, int compute, int scale) { (void)compute; (void)scale; return create(handle, 512); }
int cublasLtMatrixLayoutCreate(void **handle) { return create(handle, 512); }
int cublasLtMatmulPreferenceCreate(void **handle) { return create(handle, 512); }
int cublasLtMatmulDescDestroy(void *handle) { return destroy(handle); }
int cublasLtMatrixLayoutDestroy(void *handle) { return destroy(handle); }
int cublasLtMatmulPreferenceDestroy(void *handle) { return destroy(handle); }
typedef struct { uint64_t algorithm[8]; size_t workspace_bytes; int state; float waves; int reserved[4]; } Heuristic;
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *description, void *a, void *b, void *c, void *d, void *preference,
                                   int requested, Heuristic *heuristics, int *found) {
  (void)handle; (void)description; (void)a; (void)b; (void)c; (void)d; (void)preference; (void)requested;
  memset(heuristics, 0, sizeof *heuristics);
  *found = 1;
  return 0;
}
static int gemm(void) { return fake_launch() ? 13 : g_gemm_status; } /* 13: CUBLAS_STATUS_EXECUTION_FAILED */
#define GEMM(name) int name() { return gemm(); }
GEMM(cublasSgemm_v2) GEMM(cublasDgemm_v2) GEMM(cublasSgemmEx) GEMM(cublasGemmEx) GEMM(cublasGemmStridedBatchedEx)
GEMM(cublasSgemmStridedBatched) GEMM(cublasDgemmStridedBatched) GEMM(cublasLtMatmul)

/* ---- cuDNN */
size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
size_t cudnnGetCudartVersion(void) { return 13000; }
int cudnnGetProperty(int property, int *value) { *value = property == 0 ? CUDNN_MAJOR : property == 1 ? CUDNN_MINOR : CUDNN_PATCHLEVEL; return 0; }
void cudnnGetLastErrorString(char *text, size_t size) { snprintf(text, size, "error of the fake driver"); }
const char *cudnnGetErrorString(int status) {
  switch (status) {
    case 0: return "CUDNN_STATUS_SUCCESS";
    case 1001: return "CUDNN_STATUS_NOT_INITIALIZED";
    case 2000: return "CUDNN_STATUS_BAD_PARAM";
    case 3000: return "CUDNN_STATUS_NOT_SUPPORTED";
    case 4000: return "CUDNN_STATUS_INTERNAL_ERROR";
    case 4004: return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    case 5000: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_UNKNOWN";
  }
}
int cudnnCreate(void **handle) { return needs_context() ? 1001 : create(handle, 4096); }
int cudnnDropoutGetStatesSize(void *handle, size_t *bytes) { (void)handle; *bytes = 4096; return 0; }
int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void *handle, int mode, int operations, void *x, void *z, void *y,
                                                             void *scale, void *activation, size_t *bytes) {
  (void)handle; (void)mode; (void)operations; (void)x; (void)z; (void)y; (void)scale; (void)activation;
  *bytes = 0;
  return 0;
}
int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *handle, int mode, int operations, void *activation, void *x,
                                                         size_t *bytes) {
  (void)handle; (void)mode; (void)operations; (void)activation; (void)x;
  *bytes = 0;
  return 0;
}
int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void *handle, int mode, int operations, void *x, void *y, void *dy, void *dz,
                                                      void *dx, void *scale, void *activation, size_t *bytes) {
  (void)handle; (void)mode; (void)operations; (void)x; (void)y; (void)dy; (void)dz; (void)dx; (void)scale; (void)activation;
  *bytes = 0;
  return 0;
}
#define DESCRIPTOR(kind)                                                     \
  int cudnnCreate##kind##Descriptor(void **handle) { return create(handle, 1024); } \
  int cudnnDestroy##kind##Descriptor(void *handle) { return destroy(handle); }
int cudnnGetRNNWeightSpaceSize() { return 3000; } /* recurrent networks are not modelled: CUDNN_STATUS_NOT_SUPPORTED */
DESCRIPTOR(Tensor) DESCRIPTOR(Filter) DESCRIPTOR(Convolution) DESCRIPTOR(Activation) DESCRIPTOR(Dropout) DESCRIPTOR(RNN)
DESCRIPTOR(RNNData) DESCRIPTOR(Pooling) DESCRIPTOR(CTCLoss) DESCRIPTOR(SpatialTransformer)

/* The graph API. FAKE_CUDNN_PLANS_MIB lists the workspaces of the plans that the heuristics offer, the best plan first. */
enum { ENGINE_HEURISTIC_RESULTS = 202, ENGINE_CONFIG_ENGINE = 300, PLAN_CONFIG = 401, PLAN_WORKSPACE = 402, CONFIG_COUNT = 802 };
typedef struct { int plan; char rest[252]; } Descriptor;
static int64_t g_plans_mib[16];
static int num_plans(void) {
  static int count = 0;
  char *list = strdup(getenv("FAKE_CUDNN_PLANS_MIB") ? getenv("FAKE_CUDNN_PLANS_MIB") : "0"), *rest = list, *item;
  for (int i = 0; !count && i <= 16; i++)
    if (!(item = strsep(&rest, ",")) || i == 16) count = i; else g_plans_mib[i] = atol(item);
  free(list);
  return count;
}
int cudnnBackendCreateDescriptor(int type, void **descriptor) { (void)type; return create(descriptor, sizeof(Descriptor)); }
int cudnnBackendDestroyDescriptor(void *descriptor) { return destroy(descriptor); }
int cudnnBackendSetAttribute(Descriptor *descriptor, int name, int type, int64_t count, const void *values) {
  (void)type; (void)count;
  if (name == PLAN_CONFIG && values) descriptor->plan = (*(Descriptor *const *)values)->plan;
  return 0;
}
int cudnnBackendGetAttribute(Descriptor *descriptor, int name, int type, int64_t requested, int64_t *count, void *values) {
  int64_t found = name == ENGINE_HEURISTIC_RESULTS ? num_plans() : name == ENGINE_CONFIG_ENGINE || name == PLAN_WORKSPACE || name == CONFIG_COUNT;
  (void)type;
  if (values && found > requested) found = requested;
  if (count) *count = found;
  if (!values || !found) return 0;
  if (name == PLAN_WORKSPACE) *(int64_t *)values = (num_plans(), g_plans_mib[descriptor->plan] << 20);
  if (name == CONFIG_COUNT) *(int64_t *)values = 1;
  if (name == ENGINE_HEURISTIC_RESULTS)
    for (int i = 0; i < found; i++) ((Descriptor **)values)[i]->plan = i;
  return 0;
}
static int64_t g_num_plan_runs[16];
int64_t fake_num_plan_runs(int plan) { return g_num_plan_runs[plan]; }
int cudnnBackendExecute(void *handle, Descriptor *plan) {
  (void)handle;
  if (fake_launch()) return 5000;
  g_num_plan_runs[plan->plan]++;
  return g_cudnn_status;
}
