package store

import "context"

// metaSkeletons is the name of a row of the table meta: the version of the rule that made the skeletons.
const metaSkeletons = "skeletons"

// IndexSkeletons stores the skeletons of all users, which of returns, unless that was done with the
// same version of the rule. It lets a new version of the rule see the users of an old one.
func (db *DB) IndexSkeletons(ctx context.Context, version string, of func(User) []string) error {
	reader := db.reader(ctx)
	if done := reader.meta(metaSkeletons); reader.err != nil || done == version {
		return classify(reader.err)
	}
	const page = 1000
	for after, more := "", true; more; {
		users, err := db.Users(ctx, after, page)
		if err != nil {
			return err
		}
		err = db.do(ctx, func(tx *tx) error {
			for _, u := range users {
				tx.exec(`DELETE FROM skeletons WHERE user_id = $1`, u.ID)
				tx.addSkeletons(u.ID, of(u))
			}
			if len(users) < page {
				return tx.SetMeta(metaSkeletons, version)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if more = len(users) == page; more {
			after = users[page-1].EmailKey
		}
	}
	return nil
}

func (t *tx) addSkeletons(userID string, skeletons []string) {
	for _, s := range skeletons {
		// A user who was deleted meanwhile has none.
		t.exec(`INSERT INTO skeletons (skeleton, user_id) SELECT $1, id FROM users WHERE id = $2 ON CONFLICT DO NOTHING`, s, userID)
	}
}

// checkSkeletons returns ErrLookAlike if another user has one of the skeletons. Until the transaction
// ends, no other transaction checks.
func (t *tx) checkSkeletons(skeletons []string) error {
	t.lock("skeletons")
	for _, s := range skeletons {
		if t.number(`SELECT count(*) FROM skeletons WHERE skeleton = $1`, s) > 0 {
			return ErrLookAlike
		}
	}
	return nil
}

// LookAlikes returns the ids of the users whose address looks like that of another user.
func (db *DB) LookAlikes(ctx context.Context) (ids []string, err error) {
	return texts(db.reader(ctx), `SELECT DISTINCT user_id FROM skeletons WHERE skeleton IN (SELECT skeleton FROM skeletons GROUP BY skeleton HAVING count(*) > 1)`)
}
