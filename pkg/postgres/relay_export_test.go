package postgres

// Statements of the relay whose plans are tested: they must not read the backlog.
const (
	SuspectLanes   = suspectLanes
	BuryDeliveries = buryDeliveries
	CloseLanes     = closeLanes
	AuditDepth     = auditDepth
	RingUnclaimed  = ringUnclaimed
	AdmitDue       = admitDue
	InOrder        = inOrder
)
