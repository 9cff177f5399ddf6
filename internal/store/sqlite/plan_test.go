package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
)

// The cost of a request does not depend on the number of users:
// SQLite finds every row by an index.
func TestEveryRequestFindsItsRowsByAnIndex(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	queries := []string{registryByRef, userByID, userByName, accountByName, soleAccountByName, updateUser, userPage, userTotal, userBlock, deleteRecords, insertUser, countUsers, insertRecord, accountBySecret, accountByID, keyByID, recordByKey}
	for _, query := range queries {
		plan := explain(t, s, query)
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN") && !strings.HasPrefix(step, "SCAN (subquery") && step != "SCAN CONSTANT ROW" || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s\nthe plan has a step %q: %q", query, step, plan)
			}
		}
		if len(plan) == 0 && query != insertRecord && query != countUsers { // which reads nothing first
			t.Errorf("%s\nno plan", query)
		}
	}
	if plan := explain(t, s, "SELECT * FROM users WHERE duration = ?"); len(plan) != 1 || !strings.HasPrefix(plan[0], "SCAN") {
		t.Errorf("a query without an index: got the plan %q, want SCAN: this test shows nothing", plan)
	}
}

// explain returns the steps of a query's plan.
func explain(t *testing.T, s *Store, query string) (steps []string) {
	t.Helper()
	err := s.write.use(t.Context(), func(c *conn) (err error) {
		step := func(r row) (string, error) { return scanText(r[3:]) }
		steps, err = queryAll(c, step, "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return steps
}
