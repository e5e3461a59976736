/* libnvidia-ml.so.1: memory and processes of the fake GPUs. FAKE_NVML lists what does not work: init, memory, processes, pci. */
#include "machine.h"

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NO_DRIVER = 9 };
typedef void *Handle;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } Process;

static int lacks(const char *what) { const char *list = getenv("FAKE_NVML"); return list && strstr(list, what); }
static int index_of(Handle gpu) { return (int)(uintptr_t)gpu - 1; }
static int handle_of(int gpu, Handle *handle) {
  *handle = (Handle)(uintptr_t)(gpu + 1);
  return gpu >= 0 && gpu < num_gpus() ? OK : NOT_FOUND;
}

int nvmlInit_v2(void) { return lacks("init") ? NO_DRIVER : OK; }
int nvmlInit(void) { return nvmlInit_v2(); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int error) {
  return error == NO_DRIVER ? "Driver Not Loaded" : error == NOT_SUPPORTED ? "Not Supported" : "Unknown Error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.00"); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)num_gpus(); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned gpu, Handle *handle) { return handle_of((int)gpu, handle); }
int nvmlDeviceGetHandleByUUID(const char *uuid, Handle *handle) {
  for (int gpu = 0; gpu < num_gpus(); gpu++) {
    char text[64];
    uuid_text(gpu, text);
    if (!strcmp(text, uuid)) return handle_of(gpu, handle);
  }
  return NOT_FOUND;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Handle *handle) {
  unsigned domain, bus;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2) return INVALID;
  return lacks("pci") ? NOT_FOUND : handle_of((int)bus - FIRST_PCI_BUS, handle);
}
int nvmlDeviceGetUUID(Handle gpu, char *text, unsigned size) {
  char uuid[64];
  uuid_text(index_of(gpu), uuid);
  snprintf(text, size, "%s", uuid);
  return OK;
}
int nvmlDeviceGetName(Handle gpu, char *text, unsigned size) { (void)gpu; snprintf(text, size, "%s", gpu_name()); return OK; }
/* Under MIG, NVML shows the whole card, of which the process sees one instance. */
int nvmlDeviceGetMemoryInfo(Handle gpu, Memory *memory) {
  if (lacks("memory")) return NOT_SUPPORTED;
  lock_state();
  size_t used = used_bytes(index_of(gpu)), total = total_bytes() * (size_t)setting("FAKE_GPU_MIG_INSTANCES", 1);
  unlock_state();
  *memory = (Memory){total, used < total ? total - used : 0, used};
  return OK;
}
int nvmlDeviceGetMemoryInfo_v2(Handle gpu, MemoryV2 *memory) {
  Memory plain;
  int error = nvmlDeviceGetMemoryInfo(gpu, &plain);
  if (!error) { memory->total = plain.total; memory->reserved = 0; memory->free = plain.free; memory->used = plain.used; }
  return error;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Handle gpu, unsigned *count, Process *processes) {
  unsigned found = 0, room = *count;
  if (lacks("processes")) return NOT_SUPPORTED;
  lock_state();
  used_bytes(index_of(gpu)); /* drops dead processes */
  for (Use *use = g_uses; use < g_uses + MAX_USES; use++) {
    if (!use->pid || use->gpu != index_of(gpu)) continue;
    if (processes && found < room) processes[found] = (Process){(unsigned)use->pid, use->bytes, ~0u, ~0u};
    found++;
  }
  unlock_state();
  *count = found;
  return found && (!processes || found > room) ? TOO_SMALL : OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle gpu, unsigned *count, Process *processes) {
  (void)gpu; (void)processes;
  *count = 0;
  return lacks("processes") ? NOT_SUPPORTED : OK;
}
int nvmlSystemGetProcessName(unsigned pid, char *text, unsigned size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%u/comm", pid);
  FILE *file = fopen(path, "re");
  if (!file) return NOT_FOUND;
  if (fgets(text, (int)size, file)) text[strcspn(text, "\n")] = 0;
  fclose(file);
  return OK;
}

/* What PyTorch itself calls: the older list of processes, for its out-of-memory message, and links between GPUs. */
typedef struct { unsigned pid; unsigned long long bytes; } OldProcess;
int nvmlDeviceGetComputeRunningProcesses(Handle gpu, unsigned *count, OldProcess *processes) {
  Process found[MAX_USES];
  unsigned room = *count, number = MAX_USES;
  int error = nvmlDeviceGetComputeRunningProcesses_v3(gpu, &number, found);
  if (error) return error;
  *count = number;
  if (number && (!processes || number > room)) return TOO_SMALL;
  for (unsigned i = 0; i < number; i++) processes[i] = (OldProcess){found[i].pid, found[i].bytes};
  return OK;
}
int nvmlDeviceGetNvLinkRemoteDeviceType() { return NOT_SUPPORTED; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2() { return NOT_SUPPORTED; }
int nvmlDeviceGetGpuFabricInfoV() { return NOT_SUPPORTED; }
int nvmlDeviceGetP2PStatus() { return NOT_SUPPORTED; }
