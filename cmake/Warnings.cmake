# SPDX-License-Identifier: Apache-2.0
add_library(mesh_warnings INTERFACE)
target_compile_options(mesh_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
if(MESH_WERROR)
  target_compile_options(mesh_warnings INTERFACE -Werror)
endif()
