"""A small application: a row in MariaDB and a count in Redis for each request.

It finds both by name, `db` and `cache`, and answers with its own name and the two counts.
"""

import http.server
import socket

import pymysql

TABLE = "create table if not exists hits (id int auto_increment primary key, host varchar(64))"


def rows(host: str) -> int:
    connection = pymysql.connect(
        host="db", user="app", password="secret", database="app", connect_timeout=2
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute("insert into hits (host) values (%s)", (host,))
        connection.commit()
        cursor.execute("select count(*) from hits")
        return int(cursor.fetchone()[0])


def count() -> int:
    with socket.create_connection(("cache", 6379), 2) as redis:
        redis.sendall(b"INCR hits\r\n")
        return int(redis.recv(100).strip().lstrip(b":"))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            text = f"{socket.gethostname()} rows={rows(socket.gethostname())} redis={count()}\n"
            status = 200
        except (OSError, pymysql.MySQLError) as error:
            text, status = f"error {error}\n", 500
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Requests are nginx's to log."""


http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
