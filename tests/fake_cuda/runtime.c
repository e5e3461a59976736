/* The CUDA runtime: devices, contexts, memory, copies, streams, events and launches. Kernels do nothing.

   Tests inject faults from Python, by ctypes.CDLL(None): the functions that start with fake_. */
#include "machine.h"
#include <cuda_runtime_api.h>
#include <time.h>

#define EXPECT(condition, error) do { if (!(condition)) return failed(error); } while (0)
#define TRY(call) do { cudaError_t error_ = (call); if (error_) return error_; } while (0)

static __thread cudaError_t t_last_error;
static __thread int t_device;
static cudaError_t g_sticky; /* a device-side assert: every later call returns it */
static long g_mallocs_left = -1, g_launches_left = -1, g_num_launches, g_num_syncs;
static int g_launch_error, g_launch_error_is_sticky;
static int g_visible[MAX_GPUS], g_num_visible = -1, g_has_context[MAX_GPUS], g_has_kernels[MAX_GPUS];

static cudaError_t failed(cudaError_t error) { return t_last_error = error; }

/* ---- faults and counters, called by tests */
void fake_set_sticky_error(int error) { g_sticky = (cudaError_t)error; }
void fake_fail_mallocs_after(long count) { g_mallocs_left = count; }
void fake_fail_launch_after(long count, int error, int is_sticky) {
  g_launches_left = count;
  g_launch_error = error;
  g_launch_error_is_sticky = is_sticky;
}
long fake_num_launches(void) { return g_num_launches; }
long fake_num_syncs(void) { return g_num_syncs; }
int fake_has_context(int device) { return g_has_context[device]; }

/* ---- time: a queue of work that takes FAKE_GPU_LAUNCH_US per launch */
static double g_busy_until_us;
static pthread_mutex_t g_queue_mutex = PTHREAD_MUTEX_INITIALIZER;
static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}
static void sleep_until(double time_us) {
  double left = time_us - now_us();
  if (left > 0) usleep((useconds_t)left);
}
static void wait_for_queue(void) { g_num_syncs++; sleep_until(g_busy_until_us); }
/* Also called by libraries.c. Returns the sticky error, if there is one. */
int fake_launch(void) {
  if (g_sticky) return (int)g_sticky;
  pthread_mutex_lock(&g_queue_mutex);
  double now = now_us();
  g_busy_until_us = (g_busy_until_us > now ? g_busy_until_us : now) + (double)setting("FAKE_GPU_LAUNCH_US", 0);
  g_num_launches++;
  pthread_mutex_unlock(&g_queue_mutex);
  return 0;
}

/* ---- devices, as CUDA_VISIBLE_DEVICES shows them: by index or by the beginning of a UUID */
static void find_devices(void) {
  const char *visible = getenv("CUDA_VISIBLE_DEVICES");
  int count = num_gpus(), found = 0;
  if (g_num_visible >= 0) return;
  char *list = strdup(visible ? visible : ""), *rest = list, *name;
  for (int gpu = 0; !visible && gpu < count; gpu++) g_visible[found++] = gpu;
  while ((name = strsep(&rest, ",")) && *name) {
    int gpu = -1;
    for (int candidate = 0; candidate < count; candidate++) {
      char uuid[64];
      uuid_text(candidate, uuid);
      if (!strncmp(name, "GPU-", 4) ? !strncmp(uuid, name, strlen(name)) : *name >= '0' && *name <= '9' && atoi(name) == candidate)
        gpu = candidate;
    }
    if (gpu < 0) break; /* an unknown name hides all that follow */
    g_visible[found++] = gpu;
  }
  free(list);
  g_num_visible = found;
}
static cudaError_t reserve(size_t bytes, int gpu, size_t limit) {
  lock_state();
  int fits = used_bytes(gpu) + bytes <= limit;
  if (fits) own_use(gpu)->bytes += bytes;
  unlock_state();
  return fits ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}
static void give_back(size_t bytes, int gpu) { lock_state(); own_use(gpu)->bytes -= bytes; unlock_state(); }
static cudaError_t need_context(void) {
  find_devices();
  EXPECT(!g_sticky, g_sticky);
  EXPECT(g_num_visible > 0, cudaErrorNoDevice);
  if (g_has_context[t_device]) return cudaSuccess;
  TRY(reserve(setting_mib("FAKE_GPU_CONTEXT_MIB", 450), g_visible[t_device], total_bytes()));
  g_has_context[t_device] = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  find_devices();
  *count = g_num_visible;
  EXPECT(!setting("FAKE_GPU_INIT_ERROR", 0), (cudaError_t)setting("FAKE_GPU_INIT_ERROR", 0));
  EXPECT(g_num_visible, cudaErrorNoDevice);
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) { *device = t_device; return cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
  find_devices();
  EXPECT(device < g_num_visible, cudaErrorInvalidDevice);
  t_device = device;
  return need_context();
}
/* FAKE_GPU_CAPABILITY is that of all GPUs, or a list with that of each. */
static int capability_of(int gpu) {
  const char *first = getenv("FAKE_GPU_CAPABILITY"), *own = first;
  for (; own && gpu > 0; gpu--) own = strchr(own, ',') ? strchr(own, ',') + 1 : NULL;
  return own ? atoi(own) : first ? atoi(first) : 86;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
  find_devices();
  EXPECT(device < g_num_visible, cudaErrorInvalidDevice);
  int capability = capability_of(g_visible[device]);
  *properties = (struct cudaDeviceProp){
      .totalGlobalMem = total_bytes(), .sharedMemPerBlock = 48 << 10, .regsPerBlock = 65536, .warpSize = 32,
      .maxThreadsPerBlock = 1024, .maxThreadsDim = {1024, 1024, 64}, .maxGridSize = {2147483647, 65535, 65535},
      .totalConstMem = 65536, .major = capability / 10, .minor = capability % 10, .textureAlignment = 512,
      .multiProcessorCount = 132, .integrated = (int)setting("FAKE_GPU_INTEGRATED", 0), .canMapHostMemory = 1,
      .concurrentKernels = 1, .pciBusID = FIRST_PCI_BUS + g_visible[device], .unifiedAddressing = 1,
      .memoryBusWidth = 5120, .l2CacheSize = 50 << 20, .maxThreadsPerMultiProcessor = 2048,
      .sharedMemPerMultiprocessor = 228 << 10, .regsPerMultiprocessor = 65536, .managedMemory = 1,
      .sharedMemPerBlockOptin = 227 << 10, .maxBlocksPerMultiProcessor = 32};
  snprintf(properties->name, sizeof properties->name, "%s", gpu_name());
  uuid_bytes(g_visible[device], (unsigned char *)properties->uuid.bytes);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  struct cudaDeviceProp p;
  TRY(cudaGetDeviceProperties(&p, device));
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: case cudaDevAttrMaxBlockDimX: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
    case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
    case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: *value = p.maxGridSize[1]; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrIntegrated: *value = p.integrated; break;
    default: *value = 1;
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device) {
  snprintf(text, (size_t)size, "0000:%02x:00.0", FIRST_PCI_BUS + g_visible[device]);
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int *can, int a, int b) { (void)a; (void)b; *can = 0; return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return cudaSuccess; }
cudaError_t cudaDeviceSynchronize(void) { TRY(need_context()); wait_for_queue(); return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { *version = (int)setting("FAKE_GPU_DRIVER", 13000); return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaGetLastError(void) {
  cudaError_t error = g_sticky ? g_sticky : t_last_error;
  t_last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError(void) { return g_sticky ? g_sticky : t_last_error; }
const char *cudaGetErrorName(cudaError_t error) { (void)error; return "cudaErrorOfFakeDriver"; }
const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorDevicesUnavailable: return "CUDA-capable device(s) is/are busy or unavailable";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNoKernelImageForDevice: return "no kernel image is available for execution on the device";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchOutOfResources: return "too many resources requested for launch";
    case cudaErrorAssert: return "device-side assert triggered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorCompatNotSupportedOnDevice: return "forward compatibility was attempted on non supported HW";
    default: return "unknown error";
  }
}

/* ---- memory: blocks of the host's virtual memory, which the fake GPU's size limits */
typedef struct Block { char *start; size_t bytes; int device; enum cudaMemoryType type; struct Block *next; } Block;
static Block *g_blocks;
static pthread_mutex_t g_blocks_mutex = PTHREAD_MUTEX_INITIALIZER;

static void *add_block(size_t bytes, enum cudaMemoryType type, void *at) {
  void *start = at ? at : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return NULL;
  Block *block = malloc(sizeof *block);
  pthread_mutex_lock(&g_blocks_mutex);
  *block = (Block){start, bytes, t_device, type, g_blocks};
  g_blocks = block;
  pthread_mutex_unlock(&g_blocks_mutex);
  return start;
}
static Block find_block(const void *address, int remove) {
  Block found = {0};
  pthread_mutex_lock(&g_blocks_mutex);
  for (Block **link = &g_blocks; *link; link = &(*link)->next) {
    Block *block = *link;
    if ((const char *)address < block->start || (const char *)address >= block->start + block->bytes) continue;
    found = *block;
    if (remove) { *link = block->next; free(block); }
    break;
  }
  pthread_mutex_unlock(&g_blocks_mutex);
  return found;
}
static size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

cudaError_t cudaMalloc(void **address, size_t bytes) {
  TRY(need_context());
  if (g_mallocs_left > 0) g_mallocs_left--;
  EXPECT(g_mallocs_left, cudaErrorMemoryAllocation);
  bytes = rounded(bytes, 2 << 20);
  /* With FAKE_GPU_SPILLS, the driver moves what does not fit into the host's memory, as on Windows. */
  TRY(reserve(bytes, g_visible[t_device], total_bytes() * (size_t)setting("FAKE_GPU_SPILLS", 1)));
  *address = add_block(bytes, cudaMemoryTypeDevice, NULL);
  if (!*address) give_back(bytes, g_visible[t_device]);
  EXPECT(*address, cudaErrorMemoryAllocation);
  return cudaSuccess;
}
cudaError_t cudaFree(void *address) {
  if (!address) return need_context();
  EXPECT(!g_sticky, g_sticky);
  wait_for_queue();
  Block block = find_block(address, 1);
  EXPECT(block.start, cudaErrorInvalidValue);
  munmap(block.start, block.bytes);
  give_back(block.bytes, g_visible[block.device]);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  TRY(need_context());
  lock_state();
  size_t used = used_bytes(g_visible[t_device]);
  unlock_state();
  *total = total_bytes();
  *free_bytes = used < *total ? *total - used : 0;
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **address, size_t bytes, unsigned flags) {
  (void)flags;
  TRY(need_context());
  *address = add_block(rounded(bytes + !bytes, 4096), cudaMemoryTypeHost, NULL);
  EXPECT(*address, cudaErrorMemoryAllocation);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void *address) {
  Block block = find_block(address, 1);
  if (block.start) munmap(block.start, block.bytes);
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void *address, size_t bytes, unsigned flags) {
  (void)flags;
  add_block(bytes, cudaMemoryTypeHost, address);
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *address) { find_block(address, 1); return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address) {
  Block block = find_block(address, 0);
  *attributes = (struct cudaPointerAttributes){.type = cudaMemoryTypeUnregistered, .device = -2};
  if (!block.start) return cudaSuccess;
  *attributes = (struct cudaPointerAttributes){.type = block.type, .device = block.device, .devicePointer = (void *)address};
  if (block.type == cudaMemoryTypeHost) attributes->hostPointer = (void *)address;
  return cudaSuccess;
}
static cudaError_t copy(void *to, const void *from, size_t bytes, int waits) {
  TRY(need_context());
  EXPECT(!fake_launch(), g_sticky);
  g_num_launches--; /* a copy is no kernel */
  if (waits) wait_for_queue();
  memmove(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) { (void)kind; return copy(to, from, bytes, 1); }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
  (void)kind; (void)stream;
  return copy(to, from, bytes, 0);
}
cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes, cudaStream_t stream) {
  (void)to_device; (void)from_device; (void)stream;
  return copy(to, from, bytes, 0);
}
cudaError_t cudaMemset(void *at, int value, size_t bytes) { TRY(need_context()); memset(at, value, bytes); return cudaSuccess; }
cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream) {
  (void)stream;
  TRY(need_context());
  if (value || bytes <= 1 << 20) memset(at, value, bytes); /* larger zeros would only make the host's memory real */
  return cudaSuccess;
}

/* ---- expandable segments: the allocator maps physical memory into a reserved range of addresses, by the driver's API */
typedef struct { size_t bytes; int gpu; } Physical;
static int reserve_addresses(void **address, size_t bytes) { *address = add_block(bytes, cudaMemoryTypeDevice, NULL); return *address ? 0 : 2; }
static int free_addresses(void *address, size_t bytes) { find_block(address, 1); munmap(address, bytes); return 0; }
static int create_physical(Physical **handle, size_t bytes) {
  if (need_context() || reserve(bytes, g_visible[t_device], total_bytes())) return cudaErrorMemoryAllocation;
  *handle = malloc(sizeof **handle);
  **handle = (Physical){bytes, g_visible[t_device]};
  return 0;
}
static int release_physical(Physical *handle) { give_back(handle->bytes, handle->gpu); free(handle); return 0; }
static int granularity(size_t *bytes) { *bytes = 2 << 20; return 0; }
static int address_range(void **start, size_t *bytes, void *address) {
  Block block = find_block(address, 0);
  *start = block.start;
  *bytes = block.bytes;
  return block.start ? 0 : 1;
}
static int error_text(int error, const char **text) { *text = cudaGetErrorString((cudaError_t)error); return 0; }
static int current_context(void **context) { *context = &g_has_context; return 0; }
static int device_number(int *device, int ordinal) { *device = ordinal; return 0; }
static int no_attribute(int *value) { *value = 0; return 0; }
static int success(void) { return 0; }
static const struct { const char *name; void *function; } ENTRIES[] = {
    {"cuMemAddressReserve", reserve_addresses}, {"cuMemAddressFree", free_addresses}, {"cuMemCreate", create_physical},
    {"cuMemRelease", release_physical}, {"cuMemGetAllocationGranularity", granularity}, {"cuMemGetAddressRange", address_range},
    {"cuGetErrorString", error_text}, {"cuCtxGetCurrent", current_context}, {"cuDeviceGet", device_number},
    {"cuDeviceGetAttribute", no_attribute}};
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result) {
  (void)version; (void)flags;
  if (result) *result = cudaDriverEntryPointSuccess;
  *function = success;
  for (size_t i = 0; i < sizeof ENTRIES / sizeof *ENTRIES; i++)
    if (!strcmp(name, ENTRIES[i].name)) *function = ENTRIES[i].function;
  return cudaSuccess;
}

/* ---- streams and events */
static uintptr_t g_last_stream = 16;
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
  (void)flags; (void)priority;
  *stream = (cudaStream_t)(g_last_stream += 16);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { (void)stream; EXPECT(!g_sticky, g_sticky); wait_for_queue(); return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t stream) { (void)stream; EXPECT(!g_sticky, g_sticky); return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  (void)stream;
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  (void)flags;
  TRY(need_context());
  *event = calloc(1, sizeof(double));
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { free(event); return cudaSuccess; }
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  (void)stream; (void)flags;
  EXPECT(!g_sticky, g_sticky);
  double now = now_us();
  *(double *)event = g_busy_until_us > now ? g_busy_until_us : now;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return cudaEventRecordWithFlags(event, stream, 0); }
cudaError_t cudaEventQuery(cudaEvent_t event) { EXPECT(!g_sticky, g_sticky); return *(double *)event > now_us() ? cudaErrorNotReady : cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  EXPECT(!g_sticky, g_sticky);
  g_num_syncs++;
  sleep_until(*(double *)event);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = (float)((*(double *)to - *(double *)from) / 1e3);
  return cudaSuccess;
}

/* ---- kernels */
typedef struct { dim3 grid, block; size_t shared; void *stream; } Configuration;
static __thread Configuration t_configurations[16];
static __thread int t_num_configurations;
void **__cudaRegisterFatBinary(void *binary) { static void *handle[4]; (void)binary; return handle; }
char __cudaInitModule(void **handle) { (void)handle; return 1; }
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
  if (t_num_configurations < 16) t_configurations[t_num_configurations++] = (Configuration){grid, block, shared, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
  EXPECT(t_num_configurations, cudaErrorInvalidValue);
  Configuration last = t_configurations[--t_num_configurations];
  *grid = last.grid; *block = last.block; *shared = last.shared; *(void **)stream = last.stream;
  return cudaSuccess;
}
/* With lazy loading, the first kernels make the context grow. */
static cudaError_t need_kernels(void) {
  TRY(need_context());
  if (g_has_kernels[t_device]) return cudaSuccess;
  TRY(reserve(setting_mib("FAKE_GPU_KERNELS_MIB", 0), g_visible[t_device], total_bytes()));
  g_has_kernels[t_device] = 1;
  return cudaSuccess;
}
static cudaError_t launch(dim3 grid, dim3 block) {
  TRY(need_kernels());
  EXPECT(!setting("FAKE_GPU_LAUNCH_ERROR", 0), (cudaError_t)setting("FAKE_GPU_LAUNCH_ERROR", 0));
  EXPECT(grid.x && grid.y <= 65535 && grid.z <= 65535 && block.x * block.y * block.z <= 1024, cudaErrorInvalidConfiguration);
  if (g_launches_left >= 0 && g_launches_left-- == 0) {
    if (g_launch_error_is_sticky) g_sticky = (cudaError_t)g_launch_error;
    return failed((cudaError_t)g_launch_error);
  }
  return (cudaError_t)fake_launch();
}
cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t stream) {
  (void)kernel; (void)args; (void)shared; (void)stream;
  return launch(grid, block);
}
cudaError_t __cudaLaunchKernel(void *kernel, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t stream) {
  return cudaLaunchKernel(kernel, grid, block, args, shared, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *kernel, void **args) {
  (void)kernel; (void)args;
  return launch(configuration->gridDim, configuration->blockDim);
}
cudaError_t __cudaGetKernel(void **kernel, const void *function) { *kernel = (void *)function; return cudaSuccess; }
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
  int capability = capability_of(g_visible[t_device]);
  (void)function;
  *attributes = (struct cudaFuncAttributes){.maxThreadsPerBlock = 1024, .numRegs = 32, .ptxVersion = capability,
                                            .binaryVersion = capability, .maxDynamicSharedSizeBytes = 227 << 10};
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *kernel, int threads, size_t shared, unsigned flags) {
  (void)kernel; (void)threads; (void)shared; (void)flags;
  *blocks = 2;
  return cudaSuccess;
}
cudaError_t cudaGetSymbolAddress(void **address, const void *symbol) { static char memory[4096]; (void)symbol; *address = memory; return cudaSuccess; }
