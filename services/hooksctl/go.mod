module github.com/crm-webhooks/crm-webhooks/services/hooksctl

go 1.26.0

require (
	github.com/crm-webhooks/crm-webhooks/pkg v0.0.0
	github.com/crm-webhooks/crm-webhooks/schema v0.0.0
	github.com/crm-webhooks/crm-webhooks/services/api v0.0.0
	github.com/crm-webhooks/crm-webhooks/services/monitor v0.0.0
	github.com/crm-webhooks/crm-webhooks/services/worker v0.0.0
)

replace (
	github.com/crm-webhooks/crm-webhooks/pkg => ../../pkg
	github.com/crm-webhooks/crm-webhooks/schema => ../../schema
	github.com/crm-webhooks/crm-webhooks/services/api => ../api
	github.com/crm-webhooks/crm-webhooks/services/monitor => ../monitor
	github.com/crm-webhooks/crm-webhooks/services/worker => ../worker
)
