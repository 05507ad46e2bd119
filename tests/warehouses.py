"Two warehouses as their drivers see them over the network: HTTP servers that speak their protocols and ask DuckDB."

import datetime as dt
import gzip
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import duckdb

PAGE = 1000  # rows an answer
BIGQUERY_TYPES = {
    "BIGINT": "INTEGER",
    "INTEGER": "INTEGER",
    "DOUBLE": "FLOAT",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP_NS": "DATETIME",
    "TIMESTAMP": "DATETIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
SNOWFLAKE_TYPES = {
    "BIGINT": "fixed",
    "INTEGER": "fixed",
    "DOUBLE": "real",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP_NS": "timestamp_ntz",
    "TIMESTAMP": "timestamp_ntz",
}


class Warehouse(ThreadingHTTPServer):
    "A database with some tables, behind a protocol."

    daemon_threads = True

    def __init__(self, handler, tables):
        super().__init__(("127.0.0.1", 0), handler)
        self.lock, self.results, self.token = threading.Lock(), {}, "a-token"
        self.database = duckdb.connect()
        for name, table in tables.items():
            self.database.register("given", table)
            self.database.execute(f'create table "{name}" as select * from given')
            self.database.unregister("given")

    def ask(self, query, params=None):
        "(names, DuckDB's types, rows) of a query."
        with self.lock:
            cursor = self.database.execute(query, params or None)
            return [c[0] for c in cursor.description], [str(c[1]) for c in cursor.description], cursor.fetchall()


class Handler(BaseHTTPRequestHandler):
    "What both have in common."

    protocol_version = "HTTP/1.1"

    def log_message(self, *said):
        pass

    def do_GET(self):
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        raw = gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw
        body = json.loads(raw) if raw[:1] == b"{" else {}
        path = urlparse(self.path)
        status, answer = self.answer(path.path, parse_qs(path.query), body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_GET


class BigQuery(Handler):
    "https://cloud.google.com/bigquery/docs/reference/rest"

    def answer(self, path, options, body):
        if path == "/token":
            return 200, {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
        if self.headers.get("authorization") != f"Bearer {self.server.token}":
            return self.fault(401, "authError", "Request had invalid authentication credentials")
        if path.endswith("/datasets"):
            return 200, {"datasets": [{"datasetReference": {"projectId": "lab", "datasetId": "study"}}]}
        if path.endswith("/tables"):
            names = [row[0] for row in self.server.ask("select table_name from information_schema.tables")[2]]
            return 200, {
                "tables": [
                    {"tableReference": {"projectId": "lab", "datasetId": "study", "tableId": name}, "type": "TABLE"}
                    for name in names
                ],
                "totalItems": len(names),
            }
        if path.endswith("/queries") and self.command == "POST":
            return self.query(body)
        if found := re.search(r"/queries/([\w-]+)$", path):
            return 200, self.page(found[1], int(options.get("pageToken", ["0"])[0]))
        if found := re.search(r"/jobs/([\w-]+)$", path):
            return 200, {
                "kind": "bigquery#job",
                "id": found[1],
                "status": {"state": "DONE"},
                "statistics": {"query": {}},
                "configuration": {"jobType": "QUERY", "query": {"query": ""}},
                "jobReference": {"projectId": "lab", "jobId": found[1], "location": "EU"},
            }
        return self.fault(404, "notFound", f"no {path}")

    def query(self, body):
        text = re.sub(r"@`?(\w+)`?", r"$\1", body["query"])
        text = re.sub(r"`([^`]*)`", lambda found: '"' + found[1].rpartition(".")[2] + '"', text)
        values = {p["name"]: self.value(p) for p in body.get("queryParameters", [])}
        try:
            names, kinds, rows = self.server.ask(text, values)
        except duckdb.Error as error:
            return self.fault(400, "invalidQuery", f"Syntax error: {error}")
        job = f"job_{len(self.server.results)}"
        schema = {
            "fields": [
                {"name": name, "type": BIGQUERY_TYPES.get(kind, "STRING"), "mode": "NULLABLE"}
                for name, kind in zip(names, kinds, strict=True)
            ]
        }
        self.server.results[job] = schema, rows
        return 200, self.page(job, 0)

    def page(self, job, start):
        schema, rows = self.server.results[job]
        shown = [{"f": [{"v": self.cell(value)} for value in row]} for row in rows[start : start + PAGE]]
        more = {"pageToken": str(start + PAGE)} if start + PAGE < len(rows) else {}
        return {
            "kind": "bigquery#queryResponse",
            "jobComplete": True,
            "schema": schema,
            "rows": shown,
            "totalRows": str(len(rows)),
            "queryId": job,
            "jobReference": {"projectId": "lab", "jobId": job, "location": "EU"},
            **more,
        }

    @staticmethod
    def value(parameter):
        kind, text = parameter["parameterType"]["type"], parameter["parameterValue"]["value"]
        return {"INT64": int, "FLOAT64": float}.get(kind, str)(text)

    @staticmethod
    def cell(value):
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dt.datetime):
            return value.isoformat() if value.tzinfo is None else str(int(value.timestamp() * 1_000_000))
        return str(value)

    @staticmethod
    def fault(status, reason, message):
        return status, {
            "error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
        }


class Snowflake(Handler):
    "What its drivers send to /session and /queries."

    PASSWORD = "s3cret-word"

    def answer(self, path, options, body):
        if path == "/session/v1/login-request":
            if body["data"].get("PASSWORD") != self.PASSWORD:
                return 200, self.fault("390100", "Incorrect username or password was specified.")
            return 200, {
                "success": True,
                "code": None,
                "message": None,
                "data": {
                    "token": "t",
                    "masterToken": "m",
                    "validityInSeconds": 3600,
                    "masterValidityInSeconds": 14400,
                    "sessionId": 1,
                    "parameters": [],
                    "sessionInfo": {
                        "databaseName": "LAB",
                        "schemaName": "PUBLIC",
                        "warehouseName": "W",
                        "roleName": "R",
                    },
                },
            }
        if path == "/queries/v1/query-request":
            return 200, self.query(body["sqlText"])
        return 200, {"success": True, "code": None, "message": None, "data": {}}

    def query(self, text):
        text = text.replace("\\'", "''").replace("CURRENT_VERSION()", "'9.1.0'")  # its strings know backslashes
        listing = re.match(r"(?i)\s*show .*(tables|views) ", text)
        if listing:
            kind = "BASE TABLE" if listing[1].lower() == "tables" else "VIEW"
            text = (
                "select now()::timestamp as created_on, table_name as name, 'LAB' as database_name, "
                "'PUBLIC' as schema_name, 'TABLE' as kind, '' as comment, false as is_materialized "
                f"from information_schema.tables where table_type = '{kind}'"
            )
        elif re.match(r"(?i)\s*(rollback|commit|begin|alter session)", text):
            text = "select 'Statement executed successfully.' as status"
        try:
            names, kinds, rows = self.server.ask(text.rstrip(";"))
        except duckdb.Error as error:
            return self.fault("001003", f"SQL compilation error: {error}", "42000")
        types = [
            {
                "name": name if listing else name.upper(),
                "type": SNOWFLAKE_TYPES.get(kind, "text"),
                "nullable": True,
                "scale": 0,
                "precision": 38,
                "length": 1000,
                "byteLength": 1000,
                "database": "",
                "schema": "",
                "table": "",
                "collation": None,
            }
            for name, kind in zip(names, kinds, strict=True)
        ]
        return {
            "success": True,
            "code": None,
            "message": None,
            "data": {
                "parameters": [],
                "rowtype": types,
                "rowset": [[self.cell(value) for value in row] for row in rows],
                "total": len(rows),
                "returned": len(rows),
                "queryId": "01-02",
                "queryResultFormat": "json",
                "statementTypeId": 4096,
                "sqlState": None,
                "databaseProvider": None,
                "numberOfBinds": 0,
                "version": 1,
                "finalDatabaseName": "LAB",
                "finalSchemaName": "PUBLIC",
                "finalWarehouseName": "W",
                "finalRoleName": "R",
            },
        }

    @staticmethod
    def cell(value):
        if value is None:
            return None
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, dt.datetime):
            return f"{value.replace(tzinfo=dt.UTC).timestamp():.9f}"
        if isinstance(value, dt.date):
            return str((value - dt.date(1970, 1, 1)).days)
        return str(value)

    @staticmethod
    def fault(code, message, state="08001"):
        return {
            "success": False,
            "code": code,
            "message": message,
            "data": {"errorCode": code, "sqlState": state, "queryId": "01-02"},
        }


@contextmanager
def warehouse(handler, tables):
    "A running one."
    server = Warehouse(handler, tables)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.database.close()
