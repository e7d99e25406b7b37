# A module is a static library of src/NAME/*.c that links exactly what it names, so that a
# call into a layer above fails at link time. Its public headers are include/postern/NAME.

add_library(postern_flags INTERFACE)
target_include_directories(postern_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(postern_flags INTERFACE _GNU_SOURCE POSTERN_VERSION="${PROJECT_VERSION}")
target_compile_options(postern_flags INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Wvla
    -Wformat=2 -Wundef -fno-common -fstack-protector-strong $<$<BOOL:${POSTERN_WERROR}>:-Werror>)
target_link_libraries(postern_flags INTERFACE Threads::Threads)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

function(postern_module name)
    cmake_parse_arguments(arg "" "" "USES;LIBRARIES" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
    list(TRANSFORM arg_USES PREPEND postern_)
    if(sources)
        add_library(postern_${name} STATIC ${sources})
        target_include_directories(postern_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src/${name})
        target_link_libraries(postern_${name} PUBLIC postern_flags ${arg_USES} PRIVATE ${arg_LIBRARIES})
    else()
        add_library(postern_${name} INTERFACE)
        target_link_libraries(postern_${name} INTERFACE postern_flags ${arg_USES})
    endif()
endfunction()

function(postern_program name)
    cmake_parse_arguments(arg "" "FROM" "USES;LIBRARIES" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${arg_FROM}/*.c)
    if(NOT sources)
        return()
    endif()
    list(TRANSFORM arg_USES PREPEND postern_)
    add_executable(${name} ${sources})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src/${arg_FROM})
    target_link_libraries(${name} PRIVATE postern_flags ${arg_USES} ${arg_LIBRARIES})
endfunction()
