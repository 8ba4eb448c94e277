package auth

import "time"

// WithRefetch lets keys be fetched again for an unknown key id this often.
func (c Config) WithRefetch(every time.Duration) Config {
	c.refetchEvery = every
	return c
}
