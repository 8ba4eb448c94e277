package tasks

import (
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestQueueFor_spreads(t *testing.T) {
	t.Parallel()
	seen := make(map[Queue]int)
	for i := range 4000 {
		id := webhook.NewWebhookID(time.UnixMilli(1), [10]byte{6: byte(i >> 8), 9: byte(i)})
		seen[QueueFor(id)]++
	}
	for _, q := range AllQueues()[:Shards] {
		if seen[q] < 900 {
			t.Errorf("%s got %d of 4000", q, seen[q])
		}
	}
	if len(seen) != Shards {
		t.Errorf("used %d queues, want %d", len(seen), Shards)
	}
}

// The deliver queues must not end up on one master of a Redis Cluster.
func TestAllQueues_deliverShardsLieInFourQuartersOfTheSlots(t *testing.T) {
	t.Parallel()
	if got := slot("123456789"); got != 12739 { // the published check value
		t.Fatalf("slot(123456789) = %d, want 12739", got)
	}
	quarters := make(map[int]Queue)
	for _, q := range AllQueues()[:Shards] {
		t.Logf("%s: slot %d", q, slot(string(q)))
		quarter := slot(string(q)) / 4096
		if other, taken := quarters[quarter]; taken {
			t.Errorf("%s and %s lie in the same quarter", q, other)
		}
		quarters[quarter] = q
	}
}

// slot is what CLUSTER KEYSLOT answers for a key with this hash tag: CRC-16/XMODEM.
func slot(tag string) int {
	var crc uint16
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}
