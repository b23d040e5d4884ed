#!/bin/bash
# Runs the kernels' tests as machine code on a CPU that this machine does not have: Bochs emulates it, Debian's
# kernel boots on it, an initramfs holds the tests, linked statically.
#
#     test-emulated-cpu.sh [-s SET] [-t SECONDS] [MODEL] [TEST...]
#
# SET names the kernels to run, as in `loam --version` (default avx512vnni); TEST is one of build/release/tests (default
# test_kernels; make tests).  MODEL is one of `bochs --help cpu` (default tigerlake), with features added after a plus
# sign: corei3_cnl+avx512vnni,avx512vbmi,amx,amx_int8,amx_bf16.  What is added needs Bochs 3.0, which is built from its
# source: configure --with-nogui --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex --enable-amx
# --enable-all-optimizations.  Environment: BOCHS (the program), BOCHS_SHARE (its BIOS files), KERNEL (a vmlinuz; else
# the one of the package linux-image-cloud-amd64, downloaded).  Packages: bochs bochs-term bochsbios vgabios xorriso
# isolinux syslinux-common busybox-static cpio.  Ends with 77 ("not run") when something is missing.
set -u
cd "$(dirname "$0")/.." || exit 2
set_name=avx512vnni seconds=3600
while getopts s:t: o; do
    case $o in s) set_name=$OPTARG ;; t) seconds=$OPTARG ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
model=${1:-tigerlake}
[ $# -gt 0 ] && shift
tests=${*:-test_kernels}
BOCHS=${BOCHS:-bochs}
share=${BOCHS_SHARE:-/usr/share/bochs}
out=build/emulated-cpu/$model
mkdir -p "$out/root/bin" "$out/iso"

not_run() { echo "test-emulated-cpu: NOT RUN: $*" >&2; exit 77; }
for tool in "$BOCHS" xorriso busybox cpio; do
    command -v "$tool" >/dev/null || not_run "$tool is missing (packages bochs bochs-term xorriso busybox-static cpio)"
done
isolinux=/usr/lib/ISOLINUX/isolinux.bin ldlinux=/usr/lib/syslinux/modules/bios/ldlinux.c32
[ -r $isolinux ] && [ -r $ldlinux ] || not_run "the packages isolinux and syslinux-common are missing"
[ -r "$share/BIOS-bochs-latest" ] || not_run "$share/BIOS-bochs-latest is missing (package bochsbios)"
vga=$share/VGABIOS-lgpl-latest
[ -r "$vga" ] || vga=$share/VGABIOS-lgpl-latest.bin
[ -r "$vga" ] || not_run "no VGA BIOS in $share (package vgabios)"
"$BOCHS" --help cpu 2>&1 </dev/null | grep -qx "${model%%+*}" || not_run "$BOCHS knows no CPU ${model%%+*}"

kernel=${KERNEL:-$(ls -t /boot/vmlinuz-*-cloud-amd64 build/emulated-cpu/kernel/boot/vmlinuz-* 2>/dev/null | head -n 1)}
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)
    [ -n "$package" ] && (cd build/emulated-cpu && apt-get download -q "$package" >/dev/null 2>&1 &&
        dpkg-deb -x "$package"_*.deb kernel && rm "$package"_*.deb)
    kernel=$(ls build/emulated-cpu/kernel/boot/vmlinuz-* 2>/dev/null | head -n 1)
fi
[ -r "$kernel" ] || not_run "no Linux kernel (package linux-image-cloud-amd64)"

for t in $tests; do
    [ -r "build/release/tests/$t.o" ] || not_run "build/release/tests/$t.o is missing (make tests)"
    ${CC:-cc} -static -no-pie "build/release/tests/$t.o" build/release/libcli.a build/release/libloam.a \
        -lpcre2-8 -lutf8proc -lz -lm -pthread -o "$out/root/bin/$t" || exit 1
done
cp "$(command -v busybox)" "$out/root/bin/busybox"
cat >"$out/root/init" <<EOF
#!/bin/busybox sh
busybox=/bin/busybox
\$busybox mkdir -p /proc /tmp
\$busybox mount -t proc proc /proc
\$busybox grep -m 1 'model name' /proc/cpuinfo
\$busybox grep -m 1 flags /proc/cpuinfo | \$busybox tr ' ' '\n' | \$busybox grep -E '^(avx|amx)' | \$busybox tr '\n' ' '
echo
for t in $tests; do
    LOAM_TEST_SET=$set_name /bin/\$t
    echo "loam-exit \$t \$?"
done
echo loam-end
while :; do \$busybox sleep 1000; done
EOF
chmod +x "$out/root/init"
(cd "$out/root" && find . | cpio -o -H newc 2>/dev/null >../iso/initrd)
cp "$kernel" "$out/iso/vmlinuz"
cp $isolinux $ldlinux "$out/iso/"
# (with what is cleared here Debian's kernel gets lost in page faults on Bochs' Ice Lake and later, 2.7 and 3.0)
cat >"$out/iso/isolinux.cfg" <<'EOF'
default loam
prompt 0
label loam
    kernel vmlinuz
    append initrd=initrd console=ttyS0,115200 nokaslr nopku clearcpuid=fsrm,rdpid,umip,movdiri,movdir64b,shstk,ibt mitigations=off nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tsc=reliable random.trust_cpu=on panic=-1
EOF
xorriso -as mkisofs -quiet -o "$out/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
    -boot-info-table "$out/iso" 2>/dev/null || exit 1
case $model in
*+*) cpu="model=${model%%+*}, add_features=\"${model#*+}\"" ;;
*) cpu="model=$model" ;;
esac
display=nogui
case $("$BOCHS" --help 2>&1 </dev/null) in
*'Emulator 2.'*)
    display=term
    case $model in *+*) not_run "$BOCHS is older than 3.0: it cannot add features to a CPU" ;; esac
    ;;
esac
cat >"$out/bochsrc" <<EOF
display_library: $display
cpu: $cpu, count=1, ips=200000000
memory: guest=512, host=512
romimage: file=$share/BIOS-bochs-latest
vgaromimage: file=$vga
ata0-master: type=cdrom, path=$out/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$out/serial.txt
clock: sync=none
log: $out/bochs.log
panic: action=fatal
error: action=ignore
EOF
rm -f "$out/serial.txt"
# (Debian's only display without X wants a terminal)
echo c >"$out/commands" # its debugger waits for "continue"
run="$BOCHS -q -f $out/bochsrc"
[ $display = term ] && run="$run -rc $out/commands"
TERM=xterm script -qec "$run" /dev/null >/dev/null 2>&1 </dev/null &
emulator=$!
stop() { kill "$emulator" 2>/dev/null; [ -r "$out/serial.txt" ] && tr -d '\r' <"$out/serial.txt"; }
end=$((SECONDS + seconds))
while ! grep -q '^loam-end' "$out/serial.txt" 2>/dev/null; do
    sleep 1
    kill -0 $emulator 2>/dev/null || { stop; echo "test-emulated-cpu: the emulator ended: $out/bochs.log" >&2; exit 1; }
    [ $SECONDS -lt $end ] || { stop; echo "test-emulated-cpu: not done after $seconds s" >&2; exit 1; }
done
stop
for t in $tests; do
    tr -d '\r' <"$out/serial.txt" | grep -qx "loam-exit $t 0" || { echo "test-emulated-cpu: $t failed on $model" >&2; exit 1; }
done
tr -d '\r' <"$out/serial.txt" | grep -q "$set_name" || { echo "test-emulated-cpu: $set_name was not run" >&2; exit 1; }
echo "test-emulated-cpu: $tests passed with $set_name on $model"
