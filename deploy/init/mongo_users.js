// First start of the MongoDB container, run by mongosh: the users of the URLs that streamlake's processes read.
// One may write the database, the pages' user may only read it.
const { readFileSync } = require("fs");

for (const [file, role] of [["mongo_url", "readWrite"], ["mongo_reader_url", "read"]]) {
  const url = new URL(readFileSync(`/run/secrets/${file}`, "utf8").trim());
  const target = db.getSiblingDB(url.pathname.slice(1));
  target.createUser({
    user: decodeURIComponent(url.username),
    pwd: decodeURIComponent(url.password),
    roles: [{ role, db: target.getName() }],
  });
}
