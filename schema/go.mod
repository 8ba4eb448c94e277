module github.com/crm-webhooks/crm-webhooks/schema

go 1.26.0
