# SPDX-License-Identifier: Apache-2.0
add_library(mesh_warnings INTERFACE)
target_compile_options(mesh_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC bug 105651: false positives on concatenated std::string.
  target_compile_options(mesh_warnings INTERFACE -Wno-restrict)
endif()
if(MESH_WERROR)
  target_compile_options(mesh_warnings INTERFACE -Werror)
endif()
