#!/usr/bin/env bash
# The shared library as packages have it: linked again from the static one, so that its symbols have versions
# (cargo's own libscstu.so has none: rustc passes a version script of its own, beside which there can be no other).
#
#   packaging/link.sh LIBSCSTU.A OUTPUT_DIRECTORY
#
# Makes libscstu.so.VERSION and its links libscstu.so.0 and libscstu.so. CC and LDFLAGS come from the environment.
set -euo pipefail
archive=${1:?usage: packaging/link.sh LIBSCSTU.A OUTPUT_DIRECTORY}
output=${2:?usage: packaging/link.sh LIBSCSTU.A OUTPUT_DIRECTORY}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -1)
mkdir -p "$output"

# What the map exports is wanted from the archive; everything else goes if nobody needs it.
wanted=()
while read -r symbol; do wanted+=("-Wl,-u,$symbol"); done < <(sed -n 's/^ *\(\(scstu\|tcmur\?\)_[a-z_0-9]*\);.*/\1/p' "$here/scstu.map")
"${CC:-cc}" -shared -o "$output/libscstu.so.$version" "${wanted[@]}" "$archive" \
    -Wl,-soname,libscstu.so.0 -Wl,--version-script="$here/scstu.map" -Wl,--gc-sections -Wl,-z,nodelete \
    -Wl,-z,relro,-z,now -Wl,--no-undefined ${LDFLAGS:-} -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
ln -sf "libscstu.so.$version" "$output/libscstu.so.0"
ln -sf libscstu.so.0 "$output/libscstu.so"
