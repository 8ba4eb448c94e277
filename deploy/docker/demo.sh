#!/bin/sh
# After `make up`: has one event delivered to the demo receiver and shows what it
# printed. Needs curl. May be run again and again: the webhook is made once.
set -eu
cd "$(dirname "$0")/../.."

compose() {
	if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

# inside runs hooksctl in the api's container, which knows the signing secret of tokens.
inside() { compose exec -T api /hooksctl "$@" </dev/null; }

api=$(compose port api 8080)
token=$(inside token --tenant demo)

graphql() {
	curl -sS "http://$api/graphql" -H 'Content-Type: application/json' -H "Authorization: Bearer $token" -d "$1"
}

if ! graphql '{"query":"{webhooks(filter:{search:\"compose demo\"}){nodes{name}}}"}' | grep -q 'compose demo'; then
	# As the receiver got it: RECEIVER_SECRET may be in .env, which only compose reads.
	secret=$(compose config | sed -n 's/^ *HOOKSCTL_SECRET: *//p' | tr -d "\"'")
	input='{"name":"compose demo","url":"http://receiver:8082/","eventPatterns":["*"],"secret":"'$secret'"}'
	graphql '{"query":"mutation($i:CreateWebhookInput!){createWebhook(input:$i){webhook{id name url}userErrors{field message}}}","variables":{"i":'"$input"'}}'
	echo
fi

accepted=$(inside dispatch --token "$token" --event LEAD_CREATED --object-id lead-1 --data '{"id":"lead-1","name":"Ada Lovelace"}')
echo "$accepted"
event=$(echo "$accepted" | grep -o 'evt_[0-9a-f]*')
for _ in 1 2 3 4 5 6 7 8 9 10; do
	compose logs --no-color receiver | grep "$event.*verified," && exit 0
	sleep 1
done
echo "not verified within 10 s: see docker compose logs receiver worker" >&2
exit 1
