/* The GPUs of one fake machine. Its state is a file (FAKE_GPU_STATE) that all processes of a test map into memory. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_GPUS = 8, MAX_USES = 128, FIRST_PCI_BUS = 7 };

typedef struct { int pid, gpu; size_t bytes; } Use; /* memory that one process holds on one GPU */

static Use *g_uses;
static int g_state_file = -1;
static pthread_mutex_t g_state_mutex = PTHREAD_MUTEX_INITIALIZER;

static long setting(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}
static size_t setting_mib(const char *name, long otherwise) { return (size_t)setting(name, otherwise) << 20; }
static int num_gpus(void) { return (int)setting("FAKE_GPU_COUNT", 1); }
static size_t total_bytes(void) { return setting_mib("FAKE_GPU_MIB", 8192); }
static const char *gpu_name(void) { const char *name = getenv("FAKE_GPU_NAME"); return name ? name : "Fake GPU"; }

/* Memory of programs outside of the test. A test changes it while it runs by writing MiB into FAKE_GPU_OTHERS_FILE. */
static size_t others_bytes(void) {
  const char *path = getenv("FAKE_GPU_OTHERS_FILE");
  FILE *file = path ? fopen(path, "re") : NULL;
  long mib = setting("FAKE_GPU_OTHERS_MIB", 0);
  if (file) {
    if (fscanf(file, "%ld", &mib) != 1) mib = 0;
    fclose(file);
  }
  return (size_t)mib << 20;
}

static void uuid_bytes(int gpu, unsigned char *bytes) {
  for (int i = 0; i < 16; i++) bytes[i] = (unsigned char)(0x50 + i);
  bytes[15] = (unsigned char)gpu;
}
static void uuid_text(int gpu, char *text) {
  unsigned char b[16];
  uuid_bytes(gpu, b);
  sprintf(text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4],
          b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static void lock_state(void) {
  pthread_mutex_lock(&g_state_mutex);
  if (!g_uses) {
    const char *path = getenv("FAKE_GPU_STATE");
    if (!path) { fputs("fake CUDA: FAKE_GPU_STATE names no file\n", stderr); abort(); }
    g_state_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (g_state_file < 0 || ftruncate(g_state_file, MAX_USES * sizeof(Use))) { perror("fake CUDA"); abort(); }
    g_uses = mmap(NULL, MAX_USES * sizeof(Use), PROT_READ | PROT_WRITE, MAP_SHARED, g_state_file, 0);
  }
  flock(g_state_file, LOCK_EX);
}
static void unlock_state(void) {
  flock(g_state_file, LOCK_UN);
  pthread_mutex_unlock(&g_state_mutex);
}

/* A process that was killed, or that nobody has waited for yet, holds no memory. */
static int is_alive(int pid) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  int read_it = fgets(line, sizeof line, file) != NULL;
  fclose(file);
  char *state = read_it ? strrchr(line, ')') : NULL;
  return state && state[2] != 'Z' && state[2] != 'X';
}

/* With the state locked: bytes in use on a GPU by living processes, other programs included. */
static size_t used_bytes(int gpu) {
  size_t sum = others_bytes();
  for (Use *use = g_uses; use < g_uses + MAX_USES; use++) {
    if (use->pid && !is_alive(use->pid)) memset(use, 0, sizeof *use);
    if (use->pid && use->gpu == gpu) sum += use->bytes;
  }
  return sum;
}
static Use *own_use(int gpu) {
  Use *vacant = NULL;
  for (Use *use = g_uses; use < g_uses + MAX_USES; use++) {
    if (use->pid == getpid() && use->gpu == gpu) return use;
    if (!use->pid && !vacant) vacant = use;
  }
  if (!vacant) { fputs("fake CUDA: too many processes\n", stderr); abort(); }
  *vacant = (Use){getpid(), gpu, 0};
  return vacant;
}
