#!/bin/sh
# Installs PostgreSQL (>= 14) and Redis (>= 6.2) for `make run` and `make test`
# with the platform's package manager: only what is missing, silent when all is
# there, one clear line when it cannot. Arguments limit it: postgresql, redis.
#
# Only programs are wanted: neither a cluster nor a service is set up.
set -eu
cd "$(dirname "$0")/../.."

fail() {
	echo "install-servers: $*" >&2
	exit 1
}

# missing prints the names of servers that are wanted and not there.
missing() {
	found=$(go run ./pkg/devstack/cmd/withservers -missing) || fail "cannot look for servers: is Go installed?"
	for name in $found; do
		case " $wanted " in *" $name "*) printf '%s ' "$name" ;; esac
	done
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

need_root() {
	[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1 ||
		fail "$todo missing, and installing needs root or sudo: install by hand, then try again"
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

with_apt() {
	as_root apt-get update -qq || fail "apt-get update failed: is the network there?"
	# Without this the packages would start servers of their own.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'as_root rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
		as_root chmod 755 $policy
	fi
	case " $todo " in *" postgresql "*)
		if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
			apt_install postgresql-common
			as_root sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
		fi
		apt_install postgresql
		;;
	esac
	case " $todo " in *" redis "*)
		apt_install redis-server
		# It has just come with us; nobody asked for a service at the next boot.
		as_root systemctl disable redis-server >/dev/null 2>&1 || true
		;;
	esac
}

with_dnf() {
	case " $todo " in *" postgresql "*)
		# Where the default is older than 14, a newer one is a module.
		as_root dnf -y -q module enable postgresql:16 >/dev/null 2>&1 || true
		as_root dnf -y -q install postgresql-server >/dev/null
		;;
	esac
	case " $todo " in *" redis "*)
		as_root dnf -y -q install redis >/dev/null 2>&1 || as_root dnf -y -q install valkey >/dev/null
		;;
	esac
}

with_apk() {
	case " $todo " in *" postgresql "*) as_root apk add --quiet postgresql ;; esac
	case " $todo " in *" redis "*) as_root apk add --quiet redis || as_root apk add --quiet valkey ;; esac
}

with_brew() {
	case " $todo " in *" postgresql "*) brew install --quiet postgresql@17 ;; esac
	case " $todo " in *" redis "*) brew install --quiet redis ;; esac
}

wanted="${*:-postgresql redis}"
todo=$(missing)
todo=${todo% }
[ -n "$todo" ] || exit 0

for manager in apt-get dnf apk brew none; do
	command -v $manager >/dev/null 2>&1 && break
done
if [ $manager = none ]; then
	fail "$todo missing, and no apt-get, dnf, apk or brew to install with: install PostgreSQL >= 14 and Redis >= 6.2 by hand"
fi
[ $manager = brew ] || need_root
echo "Installing $todo with $manager (programs only; no service is started) ..." >&2
case $manager in
apt-get) with_apt ;;
dnf) with_dnf ;;
apk) with_apk ;;
brew) with_brew ;;
esac || fail "$manager could not install $todo: install PostgreSQL >= 14 and Redis >= 6.2 by hand"

left=$(missing)
[ -z "$left" ] || fail "$manager installed ${left% }, but too old or where nobody looks: PostgreSQL >= 14 and Redis >= 6.2 are needed"
