#!/bin/sh
# Installs programs, helpers, library, headers and man pages below PREFIX.
# usage: install.sh BINDIR OBJDIR MANDIR PREFIX      DESTDIR is put before PREFIX
set -eu
bin=$1 obj=$2 man=$3 final=$4
prefix=${DESTDIR:-}$final
install -d "$prefix/bin" "$prefix/libexec/loam" "$prefix/lib/pkgconfig" "$prefix/include/loam" "$prefix/share/man/man1" "$prefix/share/doc/loam"
for p in "$bin"/*; do
    case $(basename "$p") in
    loam-*) install -m 755 "$p" "$prefix/libexec/loam/" ;;
    *) install -m 755 "$p" "$prefix/bin/" ;;
    esac
done
install -m 644 "$obj/libloam.a" "$prefix/lib/"
install -m 644 include/loam/*.h "$prefix/include/loam/"
install -m 644 "$man"/*.1 "$prefix/share/man/man1/"
install -m 644 LICENSE README.md docs/*.md "$prefix/share/doc/loam/"
cat >"$prefix/lib/pkgconfig/loam.pc" <<PC
Name: loam
Description: local offline AI on any machine
Version: $(sed -n 's/^#define LOAM_VERSION "\(.*\)"/\1/p' include/loam/base.h)
Cflags: -I$final/include
Libs: -L$final/lib -lloam -lpcre2-8 -lutf8proc -lz -lm -pthread
PC
