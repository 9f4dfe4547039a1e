# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Sourced after mount.sh by the tests of image formats.
#
#   serves KIND                  this build and machine make and serve such images
#   driver_of KIND               what QEMU calls the format
#   create FILE KIND KEY=VALUE...
#   change CONTROL COMMAND...    tell, which says why when it is refused
#   await_closed FILE...         nobody has these disks open, and their images are at rest
#   nothing_is_noted             no acknowledged change is missing in an image
#   random_ops FILE OPS BLOCK    as many on the disk, whose container has blocks of so many bytes;
#                                its content is in $WORK/FILE.twin then
#   work_on FILE WHAT OPS BLOCK GROWN    OPS random ones twice; in between the disk is closed, and
#                                grows to GROWN bytes, unless that is 0. Then, and when it is
#                                closed, the test's function `whole FILE` has to find in the image
#                                what the twin holds. WHAT is for the output
#   all_are_whole FILE...        what such a test ends with
#   is_last                      whether `whole` is asked for the last time
#   same_bytes DISK TWIN
#   qemu_checks DRIVER IMAGE [leaks]    qemu-img finds no fault, if it can look for faults; where QEMU
#                                was killed there may be clusters that nobody uses
#   qemu_agrees DRIVER IMAGE TWIN  qemu-img reads this size and these bytes
#   vhdi_agrees IMAGE TWIN       likewise libvhdi
#   vhdi_is_wrong [--parent P]... IMAGE TWIN   it refuses the image, or reads something else
#   qemu_writes DRIVER IMAGE COMMAND...        commands for qemu-io
#   qemu_changes DRIVER IMAGE COMMAND...       likewise, with discards that do something
#   qemu_reads DRIVER IMAGE COMMAND...         likewise, and `read -P` has to find what it says

serves() { grep -qE "^formats:(.*,)? *$1(,|\$)" "$CTL/capabilities"; }

driver_of() {
	case $1 in
	vhdx*) echo vhdx ;;
	vhd*) echo vpc ;;
	*) echo "$1" ;;
	esac
}

change() { tell "$@" || { cat "$CTL/$1/control" >&2; return 1; }; }

create() {
	local file=$1 kind=$2
	shift 2
	change . CreateDisk "Name=$file" "Format=$kind" "$@"
}

are_closed() {
	local file
	for file; do
		grep -qx 'Openers: 0' "$CTL/disks/$file/status" || return
	done
}

await_closed() { await 20 are_closed "$@"; }

nothing_is_noted() {
	local noted
	noted=$(ls "$DISKS/.tandem/notes")
	[ -z "$noted" ] || fail "notes are left: $noted"
}

random_ops() {
	local seed=${TANDEMFS_SEED:-$RANDOM$RANDOM}
	"$TANDEMFS_TOOLS/model" --seed "$seed" --ops "$2" --container "$3" \
		--save "$WORK/$1.twin" "$MNT/$1.raw" >"$WORK/model.out" 2>&1 ||
		fail "$1: $(cat "$WORK/model.out")"
}

# Large requests: cmp's own are of 4 KiB.
same_bytes() { dd if="$1" bs=1M status=none | cmp - "$2"; }

grow() {	# FILE SIZE
	change "disks/$1" Resize Size="$2"
	truncate -s "$2" "$WORK/$1.twin"
	same_bytes "$MNT/$1.raw" "$WORK/$1.twin"
	await_closed "$1"
	whole "$1"
}

work_on() {
	check "$2: $3 random operations" random_ops "$1" "$3" "$4"
	await_closed "$1"
	check "$2: the image is whole once it is closed" whole "$1"
	if [ "$5" != 0 ]; then
		check "$2: it grows" grow "$1" "$5"
	fi
	check "$2: $3 more" random_ops "$1" "$3" "$4"
}

last=''
is_last() { [ -n "$last" ]; }

# What we, or a qemu-nbd of ours, wrote is no change by others.
no_foreign_change() { ! grep -E '(DiskChanged|DiskFailed) ' "$CTL/events"; }

all_are_whole() {
	local file
	last=1
	await_closed "$@"
	nothing_is_noted
	check "no change by others was seen" no_foreign_change
	stop
	nothing_is_noted
	for file; do
		check "$file: the image is whole" whole "$file"
	done
	serve
	for file; do
		check "$file: it reads the same after a restart" \
			same_bytes "$MNT/$file.raw" "$WORK/$file.twin"
	done
	stop
}

qemu_checks() {
	local status=0
	qemu-img check -q -f "$1" "$2" 2>"$WORK/check.err" || status=$?
	case $status${3-} in
	0* | 63*) ;; # 63: it cannot look for faults in this format
	3leaks) ;;
	*) fail "qemu-img check says $status: $(cat "$WORK/check.err")" ;;
	esac
}

virtual_size() {
	qemu-img info -f "$1" --output=json "$2" |
		sed -n '0,/"virtual-size"/s/.*"virtual-size": \([0-9]*\).*/\1/p'
}

qemu_agrees() {
	local size
	size=$(virtual_size "$1" "$2")
	[ "$size" = "$(stat -c %s "$3")" ] ||
		fail "qemu-img says a size of $size, not $(stat -c %s "$3")"
	qemu-img compare -q -f "$1" -F raw "$2" "$3" || qemu-img compare -f "$1" -F raw "$2" "$3"
}

need_libvhdi() {
	[ -x "$TANDEMFS_TOOLS/vhdi_compare" ] || { echo "skipped: $1: there is no libvhdi"; return 1; }
}

vhdi_agrees() {
	[ -x "$TANDEMFS_TOOLS/vhdi_compare" ] || return 0
	"$TANDEMFS_TOOLS/vhdi_compare" "$@"
}

vhdi_is_wrong() {
	local status=0
	"$TANDEMFS_TOOLS/vhdi_compare" "$@" >"$WORK/vhdi.out" || status=$?
	cat "$WORK/vhdi.out"
	[ $status = 1 ] || [ $status = 3 ] || fail "libvhdi is right, or did not run: $status"
}

qemu_does() {	# OPTIONS DRIVER IMAGE COMMAND...
	local options=$1 driver=$2 image=$3
	shift 3
	printf '%s\n' "$@" | qemu-io ${options:+"$options"} -f "$driver" "$image" >"$WORK/qemu-io.out" 2>&1 ||
		fail "qemu-io: $(cat "$WORK/qemu-io.out")"
	! grep -qE 'failed|rror' "$WORK/qemu-io.out" || fail "qemu-io: $(cat "$WORK/qemu-io.out")"
}

qemu_changes() { qemu_does --discard=unmap "$@"; }

qemu_writes() { qemu_does '' "$@"; }

qemu_reads() { qemu_does -r "$@"; }
