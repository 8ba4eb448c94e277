package webhook

// exampleRecord returns one realistic record of an object and its id, as the
// CRM's own API would show it.
func exampleRecord(object string) (string, members) {
	switch object {
	case "lead":
		return "lead_48213", exampleLead()
	case "opportunity":
		return "opp_90177", exampleOpportunity()
	case "account":
		return "acc_3051", exampleAccount()
	case "contact":
		return "con_77420", exampleContact()
	default:
		return "act_650338", exampleActivity()
	}
}

func exampleLead() members {
	return members{
		{"id", `"lead_48213"`},
		{"firstName", `"Ingrid"`},
		{"lastName", `"Solberg"`},
		{"email", `"ingrid.solberg@nordwind.example"`},
		{"phone", `"+47 21 55 01 42"`},
		{"company", `"Nordwind Energi AS"`},
		{"jobTitle", `"Head of Procurement"`},
		{"source", `"WEB_FORM"`},
		{"status", `"NEW"`},
		{"score", `64`},
		{"ownerId", `"usr_112"`},
		{"tags", `["energy","nordics"]`},
		{"createdAt", `"2026-11-20T08:41:07.000Z"`},
		{"updatedAt", `"2026-11-23T10:00:00.000Z"`},
		{"deletedAt", `null`},
	}
}

func leadEvents() []builtIn {
	return []builtIn{
		{"LEAD_CREATED", "A lead was created by hand, import, form or API.", members{{"createdAt", `"2026-11-23T10:00:00.000Z"`}}, nil},
		{"LEAD_UPDATED", "Fields of a lead changed.", nil, members{{"phone", `null`}, {"score", `41`}}},
		{"LEAD_DELETED", "A lead was moved to the bin.", deletedNow(), deletedBefore()},
		{"LEAD_RESTORED", "A lead came back from the bin.", nil, restoredBefore()},
		{"LEAD_STATUS_CHANGED", "A lead moved to another status.", members{{"status", `"QUALIFIED"`}}, members{{"status", `"CONTACTED"`}}},
		{"LEAD_OWNER_CHANGED", "A lead was given to another owner.", members{{"ownerId", `"usr_187"`}}, ownerBefore()},
		{
			"LEAD_CONVERTED", "A lead became a contact, an account and possibly an opportunity.",
			members{
				{"status", `"CONVERTED"`},
				{"convertedAt", `"2026-11-23T10:00:00.000Z"`},
				{"contactId", `"con_77420"`},
				{"accountId", `"acc_3051"`},
				{"opportunityId", `"opp_90177"`},
			},
			members{{"status", `"QUALIFIED"`}, {"convertedAt", `null`}, {"contactId", `null`}, {"accountId", `null`}, {"opportunityId", `null`}},
		},
		{"LEAD_MERGED", "Duplicates were merged into a lead.", members{{"mergedIds", `["lead_47990","lead_48002"]`}}, members{{"score", `41`}, {"mergedIds", `[]`}}},
	}
}

func exampleOpportunity() members {
	return members{
		{"id", `"opp_90177"`},
		{"name", `"Nordwind Energi - fleet telematics"`},
		{"accountId", `"acc_3051"`},
		{"contactIds", `["con_77420"]`},
		{"pipeline", `"NEW_BUSINESS"`},
		{"stage", `"PROPOSAL"`},
		{"amount", `"184500.00"`},
		{"currency", `"EUR"`},
		{"probability", `60`},
		{"closeDate", `"2026-12-18"`},
		{"ownerId", `"usr_112"`},
		{"lostReason", `null`},
		{"closedAt", `null`},
		{"createdAt", `"2026-09-02T13:15:44.000Z"`},
		{"updatedAt", `"2026-11-23T10:00:00.000Z"`},
		{"deletedAt", `null`},
	}
}

func opportunityEvents() []builtIn {
	return []builtIn{
		{"OPPORTUNITY_CREATED", "An opportunity was opened.", members{{"stage", `"PROSPECTING"`}, {"probability", `10`}, {"createdAt", `"2026-11-23T10:00:00.000Z"`}}, nil},
		{"OPPORTUNITY_UPDATED", "Fields of an opportunity changed.", nil, members{{"name", `"Nordwind Energi"`}, {"contactIds", `[]`}}},
		{"OPPORTUNITY_DELETED", "An opportunity was moved to the bin.", deletedNow(), deletedBefore()},
		{"OPPORTUNITY_RESTORED", "An opportunity came back from the bin.", nil, restoredBefore()},
		{
			"OPPORTUNITY_STAGE_CHANGED", "An opportunity moved to another stage of its pipeline.",
			members{{"stage", `"NEGOTIATION"`}, {"probability", `75`}}, members{{"stage", `"PROPOSAL"`}, {"probability", `60`}},
		},
		{"OPPORTUNITY_AMOUNT_CHANGED", "The amount or the currency of an opportunity changed.", members{{"amount", `"201000.00"`}}, members{{"amount", `"184500.00"`}}},
		{"OPPORTUNITY_CLOSE_DATE_CHANGED", "The expected close date of an opportunity moved.", members{{"closeDate", `"2027-01-29"`}}, members{{"closeDate", `"2026-12-18"`}}},
		{"OPPORTUNITY_OWNER_CHANGED", "An opportunity was given to another owner.", members{{"ownerId", `"usr_187"`}}, ownerBefore()},
		{
			"OPPORTUNITY_WON", "An opportunity was closed as won.",
			members{{"stage", `"CLOSED_WON"`}, {"probability", `100`}, {"closedAt", `"2026-11-23T10:00:00.000Z"`}},
			members{{"stage", `"NEGOTIATION"`}, {"probability", `75`}, {"closedAt", `null`}},
		},
		{
			"OPPORTUNITY_LOST", "An opportunity was closed as lost.",
			members{{"stage", `"CLOSED_LOST"`}, {"probability", `0`}, {"lostReason", `"COMPETITOR"`}, {"closedAt", `"2026-11-23T10:00:00.000Z"`}},
			members{{"stage", `"NEGOTIATION"`}, {"probability", `75`}, {"lostReason", `null`}, {"closedAt", `null`}},
		},
		{
			"OPPORTUNITY_REOPENED", "A closed opportunity was opened again.",
			members{{"stage", `"NEGOTIATION"`}, {"probability", `50`}},
			members{{"stage", `"CLOSED_LOST"`}, {"probability", `0`}, {"lostReason", `"NO_BUDGET"`}, {"closedAt", `"2026-10-30T15:22:10.000Z"`}},
		},
	}
}

// Changes that every object knows.

func deletedNow() members     { return members{{"deletedAt", `"2026-11-23T10:00:00.000Z"`}} }
func deletedBefore() members  { return members{{"deletedAt", `null`}} }
func restoredBefore() members { return members{{"deletedAt", `"2026-11-21T16:05:33.000Z"`}} }
func ownerBefore() members    { return members{{"ownerId", `"usr_112"`}} }
