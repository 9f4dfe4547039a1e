# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Sourced first by every tests/mount/*.test:  . "$(dirname "$0")/../lib/mount.sh"
# Gives it a directory of images to be served, and takes away what the test leaves.
#
#   TANDEMFS      the program (environment; else build/fs/tandemfs)
#   WORK          a fresh directory on a real file system; KEEP=1 keeps it
#   DISKS MNT     $WORK/disks and $WORK/mnt; a test may set others below $WORK
#   CTL           $MNT/.replication, of the latest serve
#   percent N     N times TANDEMFS_SCALE percent, at least 1: how much work to do
#   patience      how many times longer than elsewhere things may take here (TANDEMFS_PATIENCE);
#                 await knows of it, other time limits are multiplied with it
#
#   serve [OPTION...]            serves DISKS at MNT; returns tandemfs' exit status. A daemon that is
#                                killed stays so, unless --restart is among the options
#   stop                         unmounts MNT and waits until its daemon has ended, with status 0
#   daemon_pid                   the daemon behind MNT, as it says itself
#   kill_daemon SIGNAL           after KILL also waits for its end and removes the dead mount; not
#                                with --restart
#   kill_it                      the same of one with --restart; and until the next one serves
#   tell WHOM COMMAND...         one command to WHOM/control (`tell . CreateDisk Name=a.img Size=1M`)
#   loop_setup FILE              attaches a loop device past the page cache, prints its path
#   loop_detach DEVICE
#
#   state_is_whole [OPTION...]   what DISKS has is whole, and needs nothing from a daemon but what one
#                                that died left to do (`tandemfs check`)
#   may_be_damaged               that is asked after each stop and kill of a daemon, but not from here on
#   check DESCRIPTION COMMAND... the test fails, with the description, if the command does
#   refuses TEXT COMMAND...      ... unless the command fails and says TEXT on stderr
#   await SECONDS COMMAND...     ... unless the command, tried every 20 ms, succeeds in that time
#   fail MESSAGE                 ... now
#   skip WHY                     ends the test, as one that can't be done here
#   need TOOL...  need_root      skip without them
#
# The test ends at the first command that fails, also inside functions that check runs. What a
# sanitizer has to say about the daemon, and a daemon that does not end with status 0, fail it too.

set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 022

tests_lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TANDEMFS=$(realpath -m "${TANDEMFS:-$tests_lib/../../build/fs/tandemfs}")
patience=${TANDEMFS_PATIENCE:-1}

skip() { echo "SKIP: $1" >&2; exit 77; }
fail() { echo "FAIL: $1" >&2; checking=''; exit 1; }

[ -c /dev/fuse ] || skip "there is no /dev/fuse"
[ -x "$TANDEMFS" ] || fail "there is no $TANDEMFS"

WORK=$(realpath "$(mktemp -d "${TMPDIR:-/var/tmp}/tandemfs-test.XXXXXX")")
DISKS=$WORK/disks
MNT=$WORK/mnt
CTL=$MNT/.replication
chmod 755 "$WORK"
mkdir "$DISKS" "$MNT"
# For a test that is killed; else WORK is gone by then.
setsid "$tests_lib/clean-up" --after $$ "$WORK" </dev/null >/dev/null 2>&1 &
disown
# By this clean-up knows what the test has started.
export TANDEMFS_TEST=$WORK

for sanitizer in ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS; do
	export $sanitizer="${!sanitizer:+${!sanitizer}:}log_path=$WORK/sanitizer"
done
unset sanitizer
# libfuse keeps the mount point's name of a session that ends with files still open.
echo 'leak:fuse_session_mount' >"$WORK/lsan.known"
LSAN_OPTIONS+=":suppressions=$WORK/lsan.known:print_suppressions=0"

checking=''		# the description of the check under way
failed_at=''		# the command that the test ended at
declare -A served=()	# by mount point: PID RECORD STATE of its daemon
declare -A killed=()	# by RECORD: the daemon was sent a signal, any end is right

need() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

# grep -q, but of a pipe: all of it is read, else who writes it may end with an error, and the pipe with him.
shows() { grep "$@" >/dev/null; }

need_root() { [ "$(id -u)" = 0 ] || skip "must be root"; }

percent() {
	local scaled=$(($1 * ${TANDEMFS_SCALE:-100} / 100))
	echo $((scaled > 0 ? scaled : 1))
}

# Nothing of this is a condition of an `if`: there, functions would go on after errors.
check() {
	local outer=$checking
	checking=$1
	shift
	"$@"
	echo "ok: $checking"
	checking=$outer
}

refuses() {
	local text=$1 status
	shift
	set +e
	(set -e; "$@") >"$WORK/refuses.out" 2>"$WORK/refuses.err"
	status=$?
	set -e
	[ $status -ne 0 ] || fail "not refused: $*"
	grep -qF -e "$text" "$WORK/refuses.err" ||
		fail "refused, but not with \"$text\": $*: $(cat "$WORK/refuses.err")"
	echo "ok: refused: $*"
}

await() {
	local limit=$1 ends
	local output=$WORK/await.$BASHPID
	shift
	ends=$((${EPOCHREALTIME/./} + limit * patience * 1000000))
	until "$@" >"$output" 2>&1; do
		if [ "${EPOCHREALTIME/./}" -gt "$ends" ]; then
			cat "$output" >&2
			fail "waited $((limit * patience)) s in vain for: $*"
		fi
		sleep 0.02
	done
	rm -f "$output"
}

is_mounted() {
	local path
	while read -r _ _ _ _ path _; do
		printf -v path %b "$path"
		[ "$path" != "$1" ] || return 0
	done </proc/self/mountinfo
	return 1
}

is_unmounted() { ! is_mounted "$1"; }

# Not with timeout(1): what waits for an answer of a daemon can't be killed.
daemon_pid() {
	local pid
	read -r -t $((30 * patience)) pid < <(
		sed -n 's/^Daemon: *\([0-9][0-9]*\).*/\1/p' "$MNT/.replication/status"
	) || return
	echo "$pid"
}

state_directory() {
	local state=$DISKS/.tandem
	while [ $# -gt 0 ]; do
		case $1 in
		--state) state=${2-} ;;
		--state=*) state=${1#*=} ;;
		esac
		shift
	done
	echo "$state"
}

# Without the option: what tests kill is to be dead.
restarts() { [[ " $* " == *' --restart '* ]]; }

holder_pid() { "$TANDEMFS" --status "$MNT" | sed -n 's/^Holder: //p' | grep .; }

serve() {
	local record status pid
	restarts "$@" || set -- --no-restart "$@"
	CTL=$MNT/.replication
	record=$(mktemp "$WORK/daemon.XXXXXX")
	status=$(env -u TANDEMFS_TEST "$tests_lib/supervise" "$record" $((60 * patience)) \
		"$TANDEMFS" "$@" "$DISKS" "$MNT" </dev/null &)
	cat "$record.out"
	cat "$record.err" >&2
	[ "$status" != 124 ] || fail "tandemfs did not start in $((60 * patience)) s"
	[ "$status" = 0 ] || return "$status"
	is_mounted "$MNT" || fail "tandemfs returned 0, and $MNT is not mounted"
	pid=$(daemon_pid) || fail "$CTL/status does not say 'Daemon: PID'"
	! restarts "$@" || pid=$(holder_pid) || fail "there is no holder"
	served[$MNT]="$pid $record $(state_directory "$@")"
}

# The exit status of the process that serve's supervisor has reaped.
reaped() { sed -n "s/^ended $2 //p" "$1" | grep .; }

is_gone() { ! kill -0 "$1" 2>/dev/null; }

unmount() { fusermount3 -u "$1" || umount "$1"; }

# expect_end PID RECORD STATE: the state is let go of, the process is gone, its exit status is 0.
# Opened here, so that no lock file is made where there is none any more.
expect_end() {
	local lock status
	if { exec {lock}<"$3/lock"; } 2>/dev/null; then
		timeout $((60 * patience)) flock "$lock" ||
			fail "daemon $1 kept $3/lock for $((60 * patience)) s"
		exec {lock}<&-
	fi
	await 60 is_gone "$1"
	[ -n "$2" ] || return 0
	await 10 reaped "$2" "$1"
	status=$(reaped "$2" "$1")
	[ "$status" = 0 ] || [ -n "${killed[$2]-}" ] || fail "the daemon ended with status $status"
}

stop() {
	local pid='' record='' state
	read -r pid record state <<<"${served[$MNT]-}"
	if [ -z "$pid" ]; then
		pid=$(daemon_pid)
		state=$(state_directory)
	fi
	if is_mounted "$MNT"; then
		await 10 unmount "$MNT"
	fi
	unset 'served[$MNT]'
	expect_end "$pid" "$record" "$state"
	sanitizers_are_silent
	is_whole_if_asked "$state"
}

# Of the state that was served last.
state_is_whole() { # [OPTION...]
	local status=0
	"$TANDEMFS" check --state "${last_state:-$(state_directory)}" "$@" "$DISKS" \
		>"$WORK/whole" 2>&1 || status=$?
	case $status in
	0 | 1) ;;
	*) fail "tandemfs check says $status: $(cat "$WORK/whole")" ;;
	esac
}

ask_whole=yes
may_be_damaged() { ask_whole=no; }

is_whole_if_asked() {
	last_state=$1
	[ "$ask_whole" = no ] || [ ! -e "$1/lock" ] || state_is_whole --quiet
}

kill_daemon() {
	local pid record state
	read -r pid record state <<<"${served[$MNT]-}"
	[ -n "$pid" ] || pid=$(daemon_pid)
	[ -z "$record" ] || killed[$record]=$1
	kill -s "${1#SIG}" "$pid"
	case $1 in
	KILL | SIGKILL | 9)
		unset 'served[$MNT]'
		expect_end "$pid" "$record" "${state:-$(state_directory)}"
		fusermount3 -uz "$MNT" || umount -l "$MNT"
		is_whole_if_asked "${state:-$(state_directory)}"
		;;
	esac
}

served_by() { "$TANDEMFS" --status "$MNT" | sed -n 's/^Daemon: //p'; }

another_serves() {
	local pid
	pid=$(served_by)
	[ "$pid" != "$1" ] && [ "$pid" != - ] && "$TANDEMFS" --status "$MNT" | shows '^State: serving'
}

kill_it() {
	local pid
	pid=$(served_by)
	kill -KILL "$pid"
	await 30 another_serves "$pid"
}

tell() {
	local whom=$1
	shift
	printf '%s\n' "$*" >"$CTL/$whom/control" && return
	echo "refused last: $whom: $*: $(timeout 5 sed -n 's/^Message: //p' "$CTL/$whom/control" || true)" \
		>"$WORK/refused"
	return 1
}

loop_setup() {
	local device
	need_root
	need losetup
	losetup --find >/dev/null 2>&1 || skip "there is no loop device"
	device=$(losetup --find --show --direct-io=on "$1") || fail "losetup $1"
	echo "$device $(losetup -n -O BACK-INO,BACK-MAJ:MIN "$device" | xargs)" >>"$WORK/loops"
	echo "$device"
}

# It is out of the list first: another test may have it in a moment, with another file that has the same number.
loop_detach() {
	sed -i "\\|^$1 |d" "$WORK/loops"
	losetup -d "$1"
}

sanitizers_are_silent() {
	compgen -G "$WORK/sanitizer.*" >/dev/null || return 0
	cat "$WORK"/sanitizer.* >&2
	rm -f "$WORK"/sanitizer.*
	fail "a sanitizer reported"
}

# The descendants of a process; the daemons are none of ours, they have a supervisor.
end_below() {
	local child
	while read -r -d ' ' child; do
		end_below "$child"
		kill "$child"
	done < <(cat /proc/"$1"/task/*/children)
}

tell_why() {
	local line
	[ -z "$checking" ] || echo "FAIL: $checking"
	[ -z "$failed_at" ] || echo "failed: $failed_at"
	[ ! -e "$WORK/refused" ] || cat "$WORK/refused"
	is_mounted "$MNT" || return
	echo "the last events:"
	while IFS= read -r -t 5 line; do
		echo "$line"
	done < <(tail -n 20 "$CTL/events")
}

# What the shell itself has open would keep the mount busy. 255 is the script.
close_files() {
	local fd
	for fd in "/proc/$$/fd"/*; do
		fd=${fd##*/}
		case $fd in
		[012] | 255) ;;
		*) exec {fd}>&- ;;
		esac
	done
}

at_exit() {
	local status=$?
	trap - EXIT
	trap '' TERM INT HUP
	set +e
	case $status in
	0 | 77) ;;
	*) tell_why >&2 ;;
	esac
	close_files
	end_below $$ 2>/dev/null
	if [ $status = 0 ]; then
		for MNT in "${!served[@]}"; do
			(set -e; stop)
			status=$?
			[ $status = 0 ] || break
		done
	fi
	# WORK stays until the sanitizers have been asked: they may report when the daemon ends.
	env -u TANDEMFS_TEST KEEP=1 "$tests_lib/clean-up" "$WORK" || exit 1
	(sanitizers_are_silent) || status=1
	if [ "${KEEP-}" = 1 ]; then
		echo "kept: $WORK"
	else
		rm -rf --one-file-system "$WORK" || status=1
	fi
	exit $status
}

# Where the failure of one command ends the test; of those that fail one because of another, the innermost.
set -E
trap '[[ $- != *e* ]] || failed_at=${failed_at:-"$BASH_COMMAND (${BASH_SOURCE[0]##*/}:$LINENO)"}' ERR
trap at_exit EXIT
trap 'exit 143' TERM INT HUP
