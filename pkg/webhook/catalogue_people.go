package webhook

func exampleAccount() members {
	return members{
		{"id", `"acc_3051"`},
		{"name", `"Nordwind Energi AS"`},
		{"domain", `"nordwind.example"`},
		{"industry", `"UTILITIES"`},
		{"employees", `840`},
		{"annualRevenue", `"126000000.00"`},
		{"currency", `"NOK"`},
		{"phone", `"+47 21 55 01 00"`},
		{"billingAddress", `{"street":"Havnegata 9","city":"Bergen","postalCode":"5003","country":"NO"}`},
		{"parentId", `null`},
		{"ownerId", `"usr_112"`},
		{"createdAt", `"2025-03-14T09:30:00.000Z"`},
		{"updatedAt", `"2026-11-23T10:00:00.000Z"`},
		{"deletedAt", `null`},
	}
}

func accountEvents() []builtIn {
	return []builtIn{
		{"ACCOUNT_CREATED", "An account was created.", members{{"createdAt", `"2026-11-23T10:00:00.000Z"`}}, nil},
		{"ACCOUNT_UPDATED", "Fields of an account changed.", nil, members{{"employees", `795`}, {"phone", `"+47 21 55 00 99"`}}},
		{"ACCOUNT_DELETED", "An account was moved to the bin.", deletedNow(), deletedBefore()},
		{"ACCOUNT_RESTORED", "An account came back from the bin.", nil, restoredBefore()},
		{"ACCOUNT_MERGED", "Duplicates were merged into an account.", members{{"mergedIds", `["acc_2987"]`}}, members{{"domain", `null`}, {"mergedIds", `[]`}}},
		{"ACCOUNT_OWNER_CHANGED", "An account was given to another owner.", members{{"ownerId", `"usr_187"`}}, ownerBefore()},
	}
}

func exampleContact() members {
	return members{
		{"id", `"con_77420"`},
		{"firstName", `"Ingrid"`},
		{"lastName", `"Solberg"`},
		{"email", `"ingrid.solberg@nordwind.example"`},
		{"phone", `"+47 21 55 01 42"`},
		{"jobTitle", `"Head of Procurement"`},
		{"accountId", `"acc_3051"`},
		{"language", `"nb-NO"`},
		{"consent", `{"email":true,"phone":false}`},
		{"ownerId", `"usr_112"`},
		{"createdAt", `"2026-09-02T13:15:40.000Z"`},
		{"updatedAt", `"2026-11-23T10:00:00.000Z"`},
		{"deletedAt", `null`},
	}
}

func contactEvents() []builtIn {
	return []builtIn{
		{"CONTACT_CREATED", "A contact was created.", members{{"createdAt", `"2026-11-23T10:00:00.000Z"`}}, nil},
		{"CONTACT_UPDATED", "Fields of a contact changed.", nil, members{{"jobTitle", `"Buyer"`}}},
		{"CONTACT_DELETED", "A contact was moved to the bin.", deletedNow(), deletedBefore()},
		{"CONTACT_RESTORED", "A contact came back from the bin.", nil, restoredBefore()},
		{"CONTACT_MERGED", "Duplicates were merged into a contact.", members{{"mergedIds", `["con_70114"]`}}, members{{"phone", `null`}, {"mergedIds", `[]`}}},
		{"CONTACT_OWNER_CHANGED", "A contact was given to another owner.", members{{"ownerId", `"usr_187"`}}, ownerBefore()},
		{"CONTACT_ACCOUNT_CHANGED", "A contact moved to another account.", members{{"accountId", `"acc_3120"`}}, members{{"accountId", `"acc_3051"`}}},
		{
			"CONTACT_CONSENT_CHANGED", "A contact gave or withdrew consent to be contacted.",
			members{{"consent", `{"email":false,"phone":false}`}}, members{{"consent", `{"email":true,"phone":false}`}},
		},
		{
			// Former values would be the very data that was erased: there is no previous.
			"CONTACT_ERASED", "A contact's personal data was erased for good; receivers should erase theirs.",
			members{
				{"firstName", `null`},
				{"lastName", `null`},
				{"email", `null`},
				{"phone", `null`},
				{"jobTitle", `null`},
				{"consent", `{"email":false,"phone":false}`},
				{"erasedAt", `"2026-11-23T10:00:00.000Z"`},
			}, nil,
		},
	}
}

func exampleActivity() members {
	return members{
		{"id", `"act_650338"`},
		{"kind", `"MEETING"`},
		{"subject", `"Walk through the telematics proposal"`},
		{"notes", `"Bring the revised price list."`},
		{"status", `"OPEN"`},
		{"priority", `"HIGH"`},
		{"dueAt", `"2026-11-24T13:00:00.000Z"`},
		{"durationMinutes", `45`},
		{"assigneeId", `"usr_112"`},
		{"related", `{"objectType":"opportunity","objectId":"opp_90177"}`},
		{"completedAt", `null`},
		{"createdAt", `"2026-11-19T07:58:12.000Z"`},
		{"updatedAt", `"2026-11-23T10:00:00.000Z"`},
		{"deletedAt", `null`},
	}
}

func activityEvents() []builtIn {
	return []builtIn{
		{"ACTIVITY_CREATED", "A call, meeting, task or e-mail was created.", members{{"createdAt", `"2026-11-23T10:00:00.000Z"`}}, nil},
		{"ACTIVITY_UPDATED", "Fields of an activity changed.", nil, members{{"notes", `null`}, {"priority", `"NORMAL"`}}},
		{"ACTIVITY_DELETED", "An activity was moved to the bin.", deletedNow(), deletedBefore()},
		{"ACTIVITY_RESTORED", "An activity came back from the bin.", nil, restoredBefore()},
		{
			"ACTIVITY_COMPLETED", "An activity was marked as done.",
			members{{"status", `"DONE"`}, {"completedAt", `"2026-11-23T10:00:00.000Z"`}}, members{{"status", `"OPEN"`}, {"completedAt", `null`}},
		},
		{"ACTIVITY_REOPENED", "A done activity was opened again.", nil, members{{"status", `"DONE"`}, {"completedAt", `"2026-11-22T14:10:00.000Z"`}}},
		{"ACTIVITY_RESCHEDULED", "The due time of an activity moved.", members{{"dueAt", `"2026-11-26T09:30:00.000Z"`}}, members{{"dueAt", `"2026-11-24T13:00:00.000Z"`}}},
		{"ACTIVITY_ASSIGNED", "An activity was given to another person.", members{{"assigneeId", `"usr_187"`}}, members{{"assigneeId", `"usr_112"`}}},
		{"ACTIVITY_OVERDUE", "The due time of an open activity has passed.", members{{"status", `"OVERDUE"`}, {"dueAt", `"2026-11-23T10:00:00.000Z"`}}, members{{"status", `"OPEN"`}}},
	}
}
