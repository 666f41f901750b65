# bash completion for vmtctl
_vmtctl()
{
	local current="${COMP_WORDS[COMP_CWORD]}" path="" skip="" word words
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [ -n "$skip" ]; then skip=""; continue; fi
		case $word in
		--) return ;;
		--follow-host|--grace|--module|--root|--tools-root|-R|-m) skip=1 ;;
		-*) ;;
		*) if [ -z "$path" ]; then path=$word
		   elif [[ " powerd service dns guestinfo rpctool " == *" $path "* ]]; then path="$path $word"
		   elif [[ " run " == *" $path "* ]]; then return
		   fi ;;
		esac
	done
	[ -z "$skip" ] || return
	case $path in
	"") words="status detach attach run load unload clock powerd service dns guestinfo rpctool doctor completion --version -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"status") words="-h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"detach") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"attach") words="--force -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"run") words="--grace -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"load") words="vmt vmmemctl -m --module --force -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"unload") words="vmt vmmemctl --force -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"clock") words="off sync --follow-host --persist -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"powerd") words="install uninstall status diff -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"powerd install") words="--force --no-acpi -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"powerd uninstall") words="--force -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"powerd status") words="-h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"powerd diff") words="--no-acpi -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"service") words="install uninstall -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"service install") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"service uninstall") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"dns") words="update install uninstall -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"dns update") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"dns install") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"dns uninstall") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"guestinfo") words="get set list -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"guestinfo get") words="-h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"guestinfo set") words="--raw -n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"guestinfo list") words="-h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"rpctool") words="install uninstall as -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"rpctool install") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"rpctool uninstall") words="-n --dry-run -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"rpctool as") words="-h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"doctor") words="-h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	"completion") words="bash fish zsh -h --help -q --quiet -v --verbose --json -R --root --tools-root" ;;
	*) words="" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _vmtctl vmtctl
