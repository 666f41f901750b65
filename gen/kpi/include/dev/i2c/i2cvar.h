/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drivers of chips on an i2c bus (NetBSD sys/dev/i2c/i2cvar.h, i2c_io.h). The
 * part for controllers of a bus is missing.
 */
#ifndef _KPI_DEV_I2C_I2CVAR_H_
#define _KPI_DEV_I2C_I2CVAR_H_

#include <sys/types.h>
#include <sys/device.h>

typedef uint16_t		i2c_addr_t;
typedef struct i2c_controller	*i2c_tag_t;

typedef enum {
	I2C_OP_READ = 0,
	I2C_OP_READ_WITH_STOP = 1,
	I2C_OP_WRITE = 2,
	I2C_OP_WRITE_WITH_STOP = 3
} i2c_op_t;

/* The first members: those that a bus without a table of its chips sets. */
struct i2c_attach_args {
	i2c_tag_t	ia_tag;
	i2c_addr_t	ia_addr;
};

#define	I2C_MATCH_ADDRESS_ONLY		1
#define	I2C_MATCH_ADDRESS_AND_PROBE	2

int	iic_acquire_bus(i2c_tag_t, int);
void	iic_release_bus(i2c_tag_t, int);
int	iic_exec(i2c_tag_t, i2c_op_t, i2c_addr_t, const void *, size_t, void *,
	    size_t, int);
int	iic_smbus_read_byte(i2c_tag_t, i2c_addr_t, uint8_t, uint8_t *, int);
int	iic_smbus_read_word(i2c_tag_t, i2c_addr_t, uint8_t, uint16_t *, int);
int	iic_smbus_receive_byte(i2c_tag_t, i2c_addr_t, uint8_t *, int);
int	iic_smbus_write_byte(i2c_tag_t, i2c_addr_t, uint8_t, uint8_t, int);
int	iic_smbus_write_word(i2c_tag_t, i2c_addr_t, uint8_t, uint16_t, int);
int	iic_smbus_send_byte(i2c_tag_t, i2c_addr_t, uint8_t, int);

#endif	/* !_KPI_DEV_I2C_I2CVAR_H_ */
