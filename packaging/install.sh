#!/bin/sh
# Installs what `cargo build --release` made. DESTDIR, PREFIX (/usr/local), SBINDIR (PREFIX/sbin), LIBDIR (PREFIX/lib),
# SYSCONFDIR (/etc), UNITDIR (PREFIX/lib/systemd/system) and BUILD (target/release) say from where and to where.
set -eu
if [ $# -gt 0 ]; then
    echo "usage: [DESTDIR=...] [PREFIX=/usr/local] [SBINDIR=...] [LIBDIR=...] [SYSCONFDIR=/etc] [UNITDIR=...] [BUILD=...] $0" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
dest=${DESTDIR-} prefix=${PREFIX:-/usr/local} build=${BUILD:-target/release}
sbin=${SBINDIR:-$prefix/sbin} lib=${LIBDIR:-$prefix/lib} etc=${SYSCONFDIR:-/etc} units=${UNITDIR:-$prefix/lib/systemd/system}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

put() {
    mode=$1 to=$2
    shift 2
    install -d "$dest$to"
    install -m "$mode" "$@" "$dest$to/"
}

# A file that names programs and the configuration, with where they are here.
placed() {
    install -D -m 644 "$1" "$dest$2"
    sed "s|/usr/sbin/|$sbin/|g; s|/etc/scstu|$etc/scstu|g" "$1" >"$dest$2"
}

put 755 "$sbin" "$build/scstud" "$build/scstuadm" "$build/scstu-bench" packaging/scstu-scstadmin
put 644 "$prefix/share/man/man8" packaging/man/scstud.8 packaging/man/scstuadm.8 packaging/man/scstu-scstadmin.8 \
    packaging/man/scstu-bench.8
install -d "$dest$prefix/share/bash-completion/completions" "$dest$prefix/share/fish/vendor_completions.d"
"$build/scstuadm" completion bash >"$dest$prefix/share/bash-completion/completions/scstuadm"
"$build/scstuadm" completion fish >"$dest$prefix/share/fish/vendor_completions.d/scstuadm.fish"
placed packaging/systemd/scstud.service "$units/scstud.service"
placed packaging/systemd/scstu-tree.service "$units/scstu-tree.service"
install -D -m 644 packaging/systemd/scstu.sysusers "$dest$prefix/lib/sysusers.d/scstu.conf"
placed packaging/systemd/scstu.tmpfiles "$prefix/lib/tmpfiles.d/scstu.conf"
# It may be an installation over another: the configuration is the administrator's.
if [ ! -e "$dest$etc/scstu/scst.conf" ]; then put 644 "$etc/scstu" packaging/scst.conf; fi

# The library, with symbol versions: the file has the whole version, what programs look for is a link.
install -d "$dest$lib"
packaging/link.sh "$build/libscstu.a" "$dest$lib"
install -m 644 "$build/libscstu.a" "$dest$lib/libscstu.a"
if [ -d include ]; then put 644 "$prefix/include" include/*.h; fi
install -d "$dest$lib/pkgconfig"
sed "s|@PREFIX@|$prefix|; s|@LIBDIR@|$lib|; s|@VERSION@|$version|" packaging/scstu.pc.in \
    >"$dest$lib/pkgconfig/scstu.pc"
