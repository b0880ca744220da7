// Names that differ between ELF (Linux, BSD) and Mach-O (macOS; written from its documentation, not tried yet).
#pragma once

#define EMULATOR_EXPORT extern "C" __attribute__((visibility("default")))

#ifdef __APPLE__
#define EMULATOR_SHARED_SECTION "__DATA,gpunet_shared"
#define EMULATOR_SHARED_BEGIN "section$start$__DATA$gpunet_shared"
#define EMULATOR_SHARED_END "section$end$__DATA$gpunet_shared"
#define EMULATOR_LIBRARY_BEGIN "___dso_handle"
#define EMULATOR_SYMBOL(name) "_" name
#else
#define EMULATOR_SHARED_SECTION "gpunet_shared"
#define EMULATOR_SHARED_BEGIN "__start_gpunet_shared"
#define EMULATOR_SHARED_END "__stop_gpunet_shared"
#define EMULATOR_LIBRARY_BEGIN "__ehdr_start"
#define EMULATOR_SYMBOL(name) name
#endif
