/* As much of an initiator as the programs here need: it logs in, sends a command, and reads what comes. */
#ifndef INITIATOR_H
#define INITIATOR_H

#include "misuse.h"

#define INITIATOR "iqn.2026-01.test:initiator"

struct initiator {
    int fd;
    uint32_t cmd_sn, tag;
};

/* Set where the target may be gone at any time: what cannot be sent is no mistake then. */
static int may_be_gone;

static inline void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Connects to a portal, as scstu_listen() says it; -1 when nobody listens. */
static inline int try_connected(const char *portal)
{
    struct sockaddr_in address;
    char host[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    snprintf(host, sizeof host, "%s", portal);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(strrchr(host, ':') + 1));
    *strrchr(host, ':') = 0;
    TRUE(inet_pton(AF_INET, host, &address.sin_addr) == 1);
    if (!connect(fd, (struct sockaddr *)&address, sizeof address))
        return fd;
    close(fd);
    return -1;
}

static inline int connected(const char *portal)
{
    int fd = try_connected(portal);

    TRUE(fd >= 0);
    return fd;
}

static inline int read_exactly(int fd, void *into, size_t length)
{
    for (char *at = into; length;) {
        ssize_t got = read(fd, at, length);

        if (got <= 0)
            return -1;
        at += got;
        length -= (size_t)got;
    }
    return 0;
}

/* The header of the next PDU, whose data is skipped; -1 at the end of the connection. */
static inline int next_pdu(struct initiator *initiator, unsigned char *header)
{
    char data[4];
    size_t length;

    if (read_exactly(initiator->fd, header, 48))
        return -1;
    length = (size_t)header[5] << 16 | (size_t)header[6] << 8 | header[7];
    for (length = (length + 3) / 4; length; length--)
        if (read_exactly(initiator->fd, data, 4))
            return -1;
    return 0;
}

static inline void send_all(struct initiator *initiator, const void *bytes, size_t length, int flags)
{
    TRUE(send(initiator->fd, bytes, length, MSG_NOSIGNAL | flags) == (ssize_t)length || may_be_gone);
}

static inline void send_pdu(struct initiator *initiator, unsigned char *header, const void *data, size_t length)
{
    static const char padding[3];

    header[6] = (unsigned char)(length >> 8);
    header[7] = (unsigned char)length;
    send_all(initiator, header, 48, length ? MSG_MORE : 0);
    if (length)
        send_all(initiator, data, length, length % 4 ? MSG_MORE : 0);
    if (length % 4)
        send_all(initiator, padding, 4 - length % 4, 0);
}

/* Status class and detail of a login to TARGET over a connection; 0 when it is in. */
static inline int login(struct initiator *initiator, int fd)
{
    static const char text[] = "InitiatorName=" INITIATOR "\0TargetName=" TARGET
                               "\0SessionType=Normal\0MaxRecvDataSegmentLength=16777212";
    unsigned char header[48] = { 0x43, 0x87 };

    initiator->fd = fd;
    initiator->cmd_sn = 1;
    initiator->tag = 1;
    header[8] = 0x40;
    header[13] = (unsigned char)fd;
    put32(header + 16, initiator->tag++);
    put32(header + 24, initiator->cmd_sn);
    send_pdu(initiator, header, text, sizeof text);
    if (next_pdu(initiator, header))
        return -1;
    return header[36] << 8 | header[37];
}

/* Sends a command for LUN 0 that reads so many bytes, and answers its tag. */
static inline uint32_t command(struct initiator *initiator, const unsigned char *cdb, uint32_t bytes)
{
    unsigned char header[48] = { 0x01, bytes ? 0xc1 : 0x81 };

    put32(header + 16, initiator->tag);
    put32(header + 20, bytes);
    put32(header + 24, initiator->cmd_sn++);
    memcpy(header + 32, cdb, 16);
    send_pdu(initiator, header, NULL, 0);
    return initiator->tag++;
}

/* Waits for the end of a command without unsolicited answers in between; its status, -1 without one. */
static inline int status_of(struct initiator *initiator)
{
    unsigned char header[48];

    while (!next_pdu(initiator, header))
        if (header[0] == 0x21 || (header[0] == 0x25 && header[1] & 1))
            return header[3];
    return -1;
}

/* Sends a command for LUN 0 with data of at most 8 KiB, and answers its status. */
static inline int write_command(struct initiator *initiator, const unsigned char *cdb, const void *data,
                                uint32_t bytes)
{
    unsigned char header[48] = { 0x01, 0xa1 };

    put32(header + 16, initiator->tag++);
    put32(header + 20, bytes);
    put32(header + 24, initiator->cmd_sn++);
    memcpy(header + 32, cdb, 16);
    send_pdu(initiator, header, data, bytes);
    return status_of(initiator);
}

/* READ (16) of so many blocks of 512 bytes. */
static inline uint32_t read16(struct initiator *initiator, uint32_t lba, uint32_t blocks)
{
    unsigned char cdb[16] = { 0x88 };

    put32(cdb + 6, lba);
    put32(cdb + 10, blocks);
    return command(initiator, cdb, blocks * 512);
}

/* Takes the unit attention of a new session. */
static inline void ready(struct initiator *initiator)
{
    unsigned char cdb[16] = { 0 };

    for (int i = 0; i < 8; i++) {
        command(initiator, cdb, 0);
        if (status_of(initiator) == 0)
            return;
    }
    TRUE(!"the unit gets ready");
}

/* ABORT TASK for a tag; the answer is not waited for. */
static inline void abort_task(struct initiator *initiator, uint32_t tag)
{
    unsigned char header[48] = { 0x42, 0x81 };

    put32(header + 16, initiator->tag++);
    put32(header + 20, tag);
    put32(header + 24, initiator->cmd_sn);
    put32(header + 32, initiator->cmd_sn - 1);
    send_pdu(initiator, header, NULL, 0);
}

#endif
