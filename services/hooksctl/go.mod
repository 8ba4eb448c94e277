module github.com/crm-webhooks/crm-webhooks/services/hooksctl

go 1.26.0

require (
	github.com/crm-webhooks/crm-webhooks/pkg v0.0.0
	github.com/crm-webhooks/crm-webhooks/schema v0.0.0
	github.com/crm-webhooks/crm-webhooks/services/api v0.0.0
	github.com/crm-webhooks/crm-webhooks/services/monitor v0.0.0
	github.com/crm-webhooks/crm-webhooks/services/worker v0.0.0
)

require (
	github.com/alecthomas/kong v1.17.0 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/hibiken/asynq v0.26.0 // indirect
	github.com/jmoiron/sqlx v1.4.0 // indirect
	github.com/lib/pq v1.12.3 // indirect
	github.com/redis/go-redis/v9 v9.23.0 // indirect
	github.com/robfig/cron/v3 v3.0.1 // indirect
	github.com/spf13/cast v1.10.0 // indirect
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.15.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/crm-webhooks/crm-webhooks/pkg => ../../pkg
	github.com/crm-webhooks/crm-webhooks/schema => ../../schema
	github.com/crm-webhooks/crm-webhooks/services/api => ../api
	github.com/crm-webhooks/crm-webhooks/services/monitor => ../monitor
	github.com/crm-webhooks/crm-webhooks/services/worker => ../worker
)
