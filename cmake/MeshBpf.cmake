# SPDX-License-Identifier: Apache-2.0
# mesh_bpf_program(NAME <x> SRC <file.bpf.c> [IPV6 | BOTH] [TRACE])
#   Compiles one BPF object and its bpftool skeleton; `mesh::bpf_<x>` carries the include path
#   of `<x>.skel.h`. The object itself is at build/bpf/<x>.bpf.o (target property MESH_BPF_OBJECT).
#   TRACE: compiled with -DMESH_TRACE (bpf/lib/trace.h).
#   IPV6: compiled with -DMESH_IPV6. BOTH: compiled without it and with it, and linked to one object.
file(GLOB_RECURSE MESH_BPF_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bpf/*.h)
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-multiarch
  OUTPUT_VARIABLE MESH_MULTIARCH OUTPUT_STRIP_TRAILING_WHITESPACE)

# Compiles `src` to `object`; further arguments go to the compiler. The same sources in another folder
# give the same bytes, so that what is built from them is found in a compiler cache.
function(mesh_bpf_object src object)
  add_custom_command(OUTPUT ${object}
    COMMAND ${MESH_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror
      -Wno-unused-parameter -Wno-address-of-packed-member -fno-stack-protector ${ARGN}
      -I ${PROJECT_SOURCE_DIR}/bpf -I ${PROJECT_SOURCE_DIR}/bpf/include
      -idirafter /usr/include/${MESH_MULTIARCH}
      -ffile-prefix-map=${PROJECT_SOURCE_DIR}=. -fdebug-compilation-dir .
      -c ${src} -o ${object}
    DEPENDS ${src} ${MESH_BPF_HEADERS} VERBATIM)
endfunction()

function(mesh_bpf_program)
  cmake_parse_arguments(A "IPV6;BOTH;TRACE" "NAME;SRC" "" ${ARGN})
  set(dir ${PROJECT_BINARY_DIR}/bpf)
  file(MAKE_DIRECTORY ${dir})
  get_filename_component(src ${A_SRC} ABSOLUTE)
  set(object ${dir}/${A_NAME}.bpf.o)
  set(skeleton ${dir}/${A_NAME}.skel.h)
  set(trace)
  if(A_TRACE)
    set(trace -DMESH_TRACE)
  endif()
  if(A_BOTH)
    set(ipv4 ${dir}/${A_NAME}.ipv4.o)
    set(ipv6 ${dir}/${A_NAME}.ipv6.o)
    mesh_bpf_object(${src} ${ipv4})
    mesh_bpf_object(${src} ${ipv6} -DMESH_IPV6)
    add_custom_command(OUTPUT ${object}
      COMMAND ${MESH_BPFTOOL} gen object ${object} ${ipv4} ${ipv6}
      DEPENDS ${ipv4} ${ipv6} VERBATIM)
  elseif(A_IPV6)
    mesh_bpf_object(${src} ${object} -DMESH_IPV6 ${trace})
  else()
    mesh_bpf_object(${src} ${object} ${trace})
  endif()
  add_custom_command(OUTPUT ${skeleton}
    COMMAND sh -c "\"$1\" gen skeleton \"$2\" name \"$3\" > \"$4.tmp\" && mv \"$4.tmp\" \"$4\"" --
      ${MESH_BPFTOOL} ${object} ${A_NAME}_bpf ${skeleton}
    DEPENDS ${object} VERBATIM)
  add_custom_target(mesh_bpf_${A_NAME}_gen DEPENDS ${object} ${skeleton})
  add_library(mesh_bpf_${A_NAME} INTERFACE)
  add_dependencies(mesh_bpf_${A_NAME} mesh_bpf_${A_NAME}_gen)
  target_include_directories(mesh_bpf_${A_NAME} SYSTEM INTERFACE ${dir})
  set_target_properties(mesh_bpf_${A_NAME} PROPERTIES MESH_BPF_OBJECT ${object})
  add_library(mesh::bpf_${A_NAME} ALIAS mesh_bpf_${A_NAME})
endfunction()
