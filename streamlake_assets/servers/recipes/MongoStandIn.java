import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.AbstractMongoBackend;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.InMemoryCursor;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * MongoDB wire-protocol stand-in for development and CI; not MongoDB.
 * args: host port [h2-file]. Without a file the data live in memory only.
 */
public class MongoStandIn {
    static final Set<String> WRITES = Set.of("insert", "update", "delete", "findAndModify", "findandmodify", "create",
        "createIndexes", "drop", "dropDatabase", "dropIndexes", "renameCollection", "aggregate");

    static Document hello(Document isMaster) {
        isMaster.put("isWritablePrimary", true);
        return isMaster;
    }

    static void before(MongoMessage m) {
        Document cmd = m.getDocument();
        // the library refuses a getMore without a batch size, which is what pymongo sends after an empty first batch
        if (cmd.containsKey("getMore") && !(cmd.get("batchSize") instanceof Number b && b.intValue() > 0)) cmd.put("batchSize", 1000);
    }

    /** Corrects what the library answers differently from mongod, as far as pymongo and pymongoarrow see it. */
    static Document fix(MongoMessage m, Document reply, CursorRegistry cursors) {
        Document cmd = m.getDocument();
        if (cmd.containsKey("insert") && reply.get("writeErrors") instanceof List<?> errors && !errors.isEmpty()) {
            // the library counts refused documents as inserted
            int n = cmd.get("documents") instanceof List<?> d ? d.size() : 0;
            boolean ordered = !Boolean.FALSE.equals(cmd.get("ordered"));
            Object first = ((Document) errors.get(0)).get("index");
            reply.put("n", ordered ? ((Number) first).intValue() : n - errors.size());
        }
        if (cmd.containsKey("aggregate") && cmd.get("cursor") instanceof Document c
                && c.get("batchSize") instanceof Number b && b.intValue() == 0
                && reply.get("cursor") instanceof Document rc && rc.get("firstBatch") instanceof List<?> rows && !rows.isEmpty()) {
            // raw batches (pymongoarrow) ask for an empty first batch
            List<Document> all = new ArrayList<>();
            for (Object o : rows) all.add((Document) o);
            long id = cursors.generateCursorId();
            cursors.add(new InMemoryCursor(id, all));
            rc.put("id", id);
            rc.put("firstBatch", List.of());
        }
        if (cmd.containsKey("buildInfo") || cmd.containsKey("buildinfo")) reply.put("standIn", "mongo-java-server");
        return reply;
    }

    static class Memory extends MemoryBackend {
        @Override public Document handleMessage(MongoMessage m) {
            if (m.getDocument().containsKey("hello")) return hello(handleCommand(m.getChannel(), "admin", "isMaster", new Document("isMaster", 1)));
            before(m);
            return fix(m, super.handleMessage(m), getCursorRegistry());
        }
    }

    static class File extends H2Backend {
        File(String path) { super(path); getMvStore().setRetentionTime(0); }
        @Override public Document handleMessage(MongoMessage m) {
            if (m.getDocument().containsKey("hello")) return hello(handleCommand(m.getChannel(), "admin", "isMaster", new Document("isMaster", 1)));
            before(m);
            Document reply = fix(m, super.handleMessage(m), getCursorRegistry());
            // without this H2 commits about once a second and a kill -9 loses acknowledged writes
            if (WRITES.contains(m.getDocument().keySet().iterator().next())) getMvStore().commit();
            return reply;
        }
    }

    public static void main(String[] a) throws Exception {
        AbstractMongoBackend backend = a.length > 2 ? new File(a[2]) : new Memory();
        backend.version(new MongoVersion() {
            public List<Integer> getVersionArray() { return List.of(7, 0, 0); }
            public int getWireVersion() { return 21; }
        });
        MongoServer server = new MongoServer(backend);
        server.bind(a[0], Integer.parseInt(a[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        System.out.println("mongo stand-in ready on " + a[0] + ":" + a[1]);
        Thread.currentThread().join();
    }
}
