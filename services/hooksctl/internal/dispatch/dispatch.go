// Package dispatch is `hooksctl dispatch`: it sends events to the API.
//
// It promises that "accepted" is what the API answered, that nothing is sent when
// the data are no JSON object, and that many events at once stop at the first
// error and say how many had been accepted by then. It repeats nothing by itself:
// after an error an event may have been accepted, and --idempotency-key is what
// makes a repetition harmless.
package dispatch

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Command is the command line of `hooksctl dispatch`.
type Command struct {
	Event          string `xor:"type" required:"" help:"Built-in event, e.g. LEAD_CREATED." placeholder:"NAME"`
	Type           string `xor:"type" required:"" help:"Event type of your own, e.g. invoice.paid." placeholder:"NAME"`
	ObjectID       string `help:"Id of the record that the event is about; a random one when absent." placeholder:"ID"`
	Data           string `default:"{}" help:"The record, a JSON object: inline, @FILE, or - for standard input." placeholder:"JSON"`
	Previous       string `help:"The changed fields' former values, as --data." placeholder:"JSON"`
	IdempotencyKey string `help:"Makes a repetition harmless; with --count, -1, -2 ... are appended." placeholder:"KEY"`
	Count          int    `default:"1" help:"How many events to send."`
	Concurrency    int    `default:"16" help:"How many requests at a time, with --count."`
	URL            string `default:"http://127.0.0.1:8080" env:"HOOKSCTL_URL" help:"The API."`
	Token          string `required:"" env:"HOOKSCTL_TOKEN" help:"Bearer token with EVENT_DISPATCH; see hooksctl token."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Examples:

  hooksctl dispatch --event LEAD_CREATED --object-id lead-1 --data '{"name":"Ada"}'

  hooksctl dispatch --event OPPORTUNITY_STAGE_CHANGED --data @opportunity.json --previous '{"stage":"open"}'

  echo '{"total":12}' | hooksctl dispatch --type invoice.paid --data - --idempotency-key invoice-7

  hooksctl dispatch --event LEAD_UPDATED --count 5000 --concurrency 64    # a quick load`
}

// Validate is called by the parser.
func (cmd *Command) Validate() error {
	switch {
	case cmd.Count < 1:
		return errors.New("--count must be at least 1")
	case cmd.Concurrency < 1:
		return errors.New("--concurrency must be at least 1")
	case cmd.Data == "-" && cmd.Previous == "-":
		return errors.New("--data and --previous cannot both be standard input")
	default:
		return nil
	}
}

// Run sends what the command line says.
func (cmd *Command) Run(ctx context.Context, c *console.Console) error {
	event, err := cmd.event(c.In)
	if err != nil {
		return err
	}
	client := apiclient.New(cmd.URL, cmd.Token, cmd.Concurrency)
	defer client.Close()
	if cmd.Count > 1 {
		return cmd.load(ctx, c, client, event)
	}
	accepted, err := client.Dispatch(ctx, event)
	if err != nil {
		return err
	}
	c.Printf("%s  %s", c.Good("accepted"), describe(accepted))
	return nil
}

func describe(a apiclient.Accepted) string {
	owes := strconv.Itoa(a.DeliveryCount) + " deliveries"
	switch {
	case a.Duplicate:
		owes = "seen before: nothing new is sent"
	case a.DeliveryCount == 0:
		owes = "nothing subscribes to it"
	case a.DeliveryCount == 1:
		owes = "1 delivery"
	}
	return a.EventID + "  " + owes
}

func (cmd *Command) event(stdin io.Reader) (apiclient.Event, error) {
	object, err := readJSON("--data", cmd.Data, stdin)
	if err != nil {
		return apiclient.Event{}, err
	}
	event := apiclient.Event{
		Event: cmd.Event, CustomEvent: cmd.Type, ObjectID: cmd.ObjectID, Object: object, IdempotencyKey: cmd.IdempotencyKey,
	}
	if event.ObjectID == "" {
		event.ObjectID = "hooksctl-" + strings.ToLower(rand.Text()[:8])
	}
	if cmd.Previous != "" {
		event.Previous, err = readJSON("--previous", cmd.Previous, stdin)
	}
	return event, err
}

// readJSON takes a value as curl does: inline, @FILE, or - for standard input.
func readJSON(flag, value string, stdin io.Reader) (json.RawMessage, error) {
	text := []byte(value)
	var err error
	if path, isFile := strings.CutPrefix(value, "@"); isFile {
		text, err = os.ReadFile(path)
	} else if value == "-" {
		text, err = io.ReadAll(stdin)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", flag, err)
	}
	text = bytes.TrimSpace(text)
	if !json.Valid(text) || text[0] != '{' {
		return nil, fmt.Errorf("%s must be a JSON object", flag)
	}
	return text, nil
}
