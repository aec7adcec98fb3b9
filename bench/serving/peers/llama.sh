#!/bin/sh
# Builds llama.cpp's own server, as llama-cpp-python's source distribution on PyPI carries it, for
# this machine's processor: bench/.envs/llama/build/bin/llama-server. Needs cmake and a C++ compiler.
# Use: sh llama.sh    (CMAKE_BUILD_PARALLEL_LEVEL=1 sh llama.sh: compiles one file at a time)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
env=$here/../../.envs/llama
begin=$(date +%s)

mkdir -p "$env"
printf '*\n' >"$here/../../.envs/.gitignore"  # an environment is never committed
python3 -m pip download --quiet --no-deps --no-binary llama-cpp-python \
	--dest "$env" llama-cpp-python==0.3.36
tar -xzf "$env"/llama_cpp_python-*.tar.gz -C "$env" --strip-components 1

# No web page, no encryption, and nothing fetched while it compiles.
cmake -S "$env/vendor/llama.cpp" -B "$env/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
	-DGGML_NATIVE=ON -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
	-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF >"$env/cmake.log"
cmake --build "$env/build" --target llama-server \
	--parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" >>"$env/cmake.log"

echo "llama.cpp: ready in $(($(date +%s) - begin)) s, $(du -sm "$env" | cut -f1) MB"
