/* Stands in for a header of the CUDA toolkit that the wheels of PyTorch do not contain. */
#pragma once
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDAAPI
#define __CUDART_API_PTDS(api) api
#define __dv(value)
#define __host__
#define __device__
#define __cudart_builtin__
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))
