module github.com/crm-webhooks/crm-webhooks/services/worker

go 1.26.0

require (
	github.com/crm-webhooks/crm-webhooks/pkg v0.0.0
	github.com/crm-webhooks/crm-webhooks/schema v0.0.0
)

require github.com/prometheus/client_golang v1.25.0 // indirect

replace (
	github.com/crm-webhooks/crm-webhooks/pkg => ../../pkg
	github.com/crm-webhooks/crm-webhooks/schema => ../../schema
)
