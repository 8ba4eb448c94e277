package webhook

// Header is a custom request header of a webhook.
type Header struct {
	Name  string
	Value string
}
